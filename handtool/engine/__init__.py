"""Who does the work: a pool of processes on this machine. Knows nothing of hands."""
