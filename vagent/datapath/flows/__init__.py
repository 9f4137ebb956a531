"""The flows that the kernel carries, read from conntrack."""
