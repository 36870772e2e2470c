"""The public Python interface: what `import handtool` provides (docs/API.md)."""
