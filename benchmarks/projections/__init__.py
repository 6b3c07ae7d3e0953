"""Plans of graphs that nobody has trained here, on paper: docs/projections.md."""
