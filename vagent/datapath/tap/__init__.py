"""The eBPF programs at the taps: what comes from a guest, and what goes to it."""
