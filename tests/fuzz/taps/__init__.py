"""The programs at the taps against a reference in plain Python: frames, both, and who
compares them.
"""
