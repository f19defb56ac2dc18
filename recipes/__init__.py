"""The shipped recipes, TOML; they travel in the wheel."""
