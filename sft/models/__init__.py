"""Base models and policies as folders with digests."""
