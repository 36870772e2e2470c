"""Networks and losses: encoders, pose heads, objectives."""
