"""A run as a person reads it: rows, summary, final report, integrity."""
