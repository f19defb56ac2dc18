"""Writes prompts that ask a model for tasks, and reads its replies into candidates; asks no model itself."""
