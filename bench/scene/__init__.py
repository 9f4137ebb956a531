"""Where it is measured: the lab, the contestants, and what they use of the machine."""
