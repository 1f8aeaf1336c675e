"""Joins the core's decisions and the storage's rows in one transaction per batch."""
