"""Keeps things going beside the requests: expires holds, makes partitions ahead, refreshes gauges."""
