"""Files of others, a module per kind of file: read as a whole, or refused with the line that is wrong."""
