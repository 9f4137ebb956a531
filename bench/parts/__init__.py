"""The parts of the benchmark: what is measured, of whom, with which goals."""
