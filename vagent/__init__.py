"""Link-local service agent for machines that host guests."""
