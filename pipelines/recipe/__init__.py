"""The recipe: its sections, budget, and the starter that `ratoon init` writes."""
