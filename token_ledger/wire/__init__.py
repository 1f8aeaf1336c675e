"""The wire format, without a web framework: bodies, the commands they stand for, answers, problems."""
