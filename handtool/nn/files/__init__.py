"""Between files and batches: crops and labels by row, weights in and out, inference."""
