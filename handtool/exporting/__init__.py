"""What `export` writes in formats of other programs that take more than a table."""
