"""Benchmarks and held-out tasks, and what of a dataset holds their items."""
