"""Numbers on texts: words, shingles, near-duplicates, lint, contamination."""
