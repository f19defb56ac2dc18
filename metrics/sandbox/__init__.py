"""The sandbox that model-written code runs in, and the two scripts that run inside it."""
