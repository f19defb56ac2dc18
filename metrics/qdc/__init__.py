"""Quality, diversity and complexity of a set of rows, in tiers by cost."""
