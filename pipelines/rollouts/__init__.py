"""Who is asked how often, what they said, what it is worth."""
