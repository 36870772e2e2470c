"""Published data sets: a reader each, called as the set is on the command line (datasets.py: what a reader has)."""
