"""Cached responses, and concurrent requests for the same that share one response."""
