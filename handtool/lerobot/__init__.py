"""Writing LeRobot sets and parquet files: for `export`."""
