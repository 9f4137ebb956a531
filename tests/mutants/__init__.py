"""The mutation run: small faults are put into the pure modules, one at a time, and the
unit tests must notice. mutmut makes the faults and tries them; what is here chooses the
modules, bounds the time, and compares what survived with `survivors.txt`.
"""
