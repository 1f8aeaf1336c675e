"""Request bodies, a file per noun. Unknown fields are refused."""
