"""A pool of worker processes on this machine. Nothing here depends on hands."""
