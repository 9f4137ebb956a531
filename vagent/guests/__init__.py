"""The libvirt watcher, a process of its own: domains → ports, through the port API."""
