"""What guards one call of a provider, apart from the requests: whose it is, what it needs, what it may have cost."""
