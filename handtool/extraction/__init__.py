"""What `extract` is made of: the reading in worker processes, and the checks before and after it."""
