"""What operators look at: the dashboard, its source, the alert rules and how they are provisioned."""
