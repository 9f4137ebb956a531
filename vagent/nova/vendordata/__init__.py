"""Vendor data: what a cloud adds to guests' metadata, from a file and from targets."""
