"""Counts how a request, a packet and a change walk through the files of the product."""
