"""Formats of reports, a module each: from typed rows to what is sent. JSON is the one that routes answer with."""
