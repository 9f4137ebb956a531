"""Snapshots become pages: Sandesh XML for tools, HTML for people."""
