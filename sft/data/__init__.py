"""Examples and datasets, their card, and the shapes other trainers read."""
