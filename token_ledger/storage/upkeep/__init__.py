"""SQL of the work that recurs: folding, retention, windows, erasures, leadership, diagnosis."""
