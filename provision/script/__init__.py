"""The parts of provision_linklocal.py: no reactor, no agent."""
