"""What happened becomes traces, counters and log lines."""
