"""The gate before a training, the training stage, what `ratoon train` may be pointed at."""
