"""The recurring work beside the requests; `schedule` says what is done and how often."""
