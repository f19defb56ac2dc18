"""Numbers on a policy: pass rates with intervals, gains, trivial policies beside it."""
