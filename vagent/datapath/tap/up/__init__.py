"""The stages of the program at every tap: how a guest's frame goes up to the host."""
