"""Flows with many packets that skip the rules, by eBPF programs at the taps."""
