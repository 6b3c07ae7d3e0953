"""Graphs that are generated: to learn from, and to measure on."""
