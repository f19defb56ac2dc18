"""How often a verifier errs: planted replies of known worth, and error rates with intervals."""
