"""The store of what operators provision: its interface, and SQLite behind it."""
