"""Which link-local services exist: the value, its JSON, the table, the watcher."""
