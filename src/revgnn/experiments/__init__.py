"""Experiments: presets, the paper's tables, and how their rows are measured and trained."""
