"""Replies that are kept, and requests for the same that share one answer."""
