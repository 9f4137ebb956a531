"""The config API, its client, and provision_linklocal.py."""
