"""Keeps things going beside the requests: expires holds, tends accounts, gives up old months, refreshes gauges."""
