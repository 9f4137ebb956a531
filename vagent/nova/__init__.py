"""The embedded Nova-compatible metadata server."""
