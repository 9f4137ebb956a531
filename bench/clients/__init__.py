"""Who asks: load generators, guests that boot, and what they connect to."""
