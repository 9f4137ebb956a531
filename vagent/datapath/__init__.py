"""Ports and services become kernel rules; packets become flows and verdicts."""
