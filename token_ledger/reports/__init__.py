"""Reports: one module each, which only reads. Rows are typed; `formats` turn them into JSON."""
