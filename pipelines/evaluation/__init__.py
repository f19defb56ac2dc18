"""Numbers on policies, rounds and verifiers, stored with the run."""
