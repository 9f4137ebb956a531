"""One signed question to a metadata service, as the agent would ask it."""
