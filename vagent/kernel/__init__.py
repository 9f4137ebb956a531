"""What the kernel speaks, as values: netlink, nf_tables, conntrack, BPF, packets."""
