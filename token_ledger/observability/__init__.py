"""What an operator sees of the service: every metric, trace and log field, declared once."""
