"""What is wrong now: for whom, since when, and what mends it."""
