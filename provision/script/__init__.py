"""The parts of provision_linklocal.py: no Twisted, nothing of the agent."""
