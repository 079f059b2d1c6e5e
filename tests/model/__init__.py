"""Model tests: every interleaving of small programs on the real source of the core."""
