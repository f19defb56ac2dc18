"""Users' files through one door: what a name names, as rows; their layout; and what was read, told. Knows no run."""
