"""How right and wrong replies are planted before a verifier: wordings, and values, programs and queries to put into them."""
