"""A guest's connection: what it may use, and the identity that its requests get."""
