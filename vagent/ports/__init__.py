"""Which guest interfaces exist: the value, the registry, the journal, the REST API."""
