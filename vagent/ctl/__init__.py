"""vagentctl, the operator's tool: a module for each group of commands, no Twisted."""
