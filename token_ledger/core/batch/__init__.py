"""What one batch takes and gives: commands, the rows it loads, its books, its writes, its outcomes."""
