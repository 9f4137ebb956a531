"""`make bench`: what the agent costs, beside a rival or without itself, in one run."""
