"""Keeps things going beside the requests: expires holds, tends accounts, erases users, drops months, shows gauges."""
