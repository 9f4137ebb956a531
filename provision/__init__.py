"""Provisioning of services and instances: config API and provision_linklocal.py."""
