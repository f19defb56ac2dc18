"""Makes rows: tasks, prompts, and the rollouts that engines sample."""
