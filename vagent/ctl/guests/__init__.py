"""`vagentctl guest` and `vagentctl libvirt`: the domains of this host."""
