"""Compares what providers bill with what the ledger booked, and names probable reasons why they differ.

What the ledger booked comes from `reports.utc_usage`, so that no SQL is here.
"""
