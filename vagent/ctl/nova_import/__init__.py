"""Rows of Nova's databases → instance documents."""
