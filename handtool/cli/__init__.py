"""The command line: a command reads its options, calls one function and shows its report.

Nothing heavy is imported before a command runs.
"""
