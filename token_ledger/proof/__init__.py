"""`verify`: computes every tenant's books again from the journal. A module of checks for each subject."""
