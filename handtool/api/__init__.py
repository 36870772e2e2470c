"""The public face in Python: what `import handtool` gives (docs/API.md)."""
