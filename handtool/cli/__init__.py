"""The porch: options are read, one function is called, its report is shown. Nothing heavy is imported before a command runs."""
