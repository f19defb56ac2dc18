"""Makes models: datasets to train on, base models and policies, the training process."""
