"""Everything that torch does."""
