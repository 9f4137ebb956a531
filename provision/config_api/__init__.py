"""The config API: Contrail's calls over HTTP, and calls of our own."""
