"""Link-local service agent for machines that host guests."""

__version__ = "0.1.0"
