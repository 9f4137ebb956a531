"""Instances as files of a watched directory: one YAML or JSON document each."""
