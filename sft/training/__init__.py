"""A training as a job in a process of its own: losses, batches, rescoring. Torch is imported here."""
