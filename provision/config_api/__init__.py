"""The config API: Contrail's dialect over HTTP, and calls of our own."""
