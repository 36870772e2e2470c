"""Who does the work: a pool of worker processes on this machine. Knows nothing of hands."""
