"""What `mine` and `cat --merge-pairs` have in common: which hands may pair, and their pairs in a file."""
