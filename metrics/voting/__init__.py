"""Groups of rollouts: votes over answers, when to stop asking, what agreement is worth."""
