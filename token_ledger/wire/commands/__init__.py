"""Commands made from request bodies, a file per noun; what a body alone shows to be wrong is refused here."""
