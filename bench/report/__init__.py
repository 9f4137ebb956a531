"""Figures of runs, goals, and the table that people read."""
