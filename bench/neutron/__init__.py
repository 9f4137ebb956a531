"""Neutron's agents as rivals."""
