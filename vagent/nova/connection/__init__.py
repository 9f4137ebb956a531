"""Connections of the metadata server: HTTP/1.1 as its clients speak it."""
