"""The agent's own account in Keystone: credentials for calls of other services."""
