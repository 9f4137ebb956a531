"""Collects facts about a host, and finds in them what stops guests' packets."""
