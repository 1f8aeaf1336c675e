"""The wire format of the service: requests and answers as JSON, and as values."""
