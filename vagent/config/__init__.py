"""agent.conf (XML) becomes an AgentConfig: grammar first, then meaning."""
