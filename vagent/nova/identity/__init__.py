"""Signed statements of who a guest is, which others can check."""
