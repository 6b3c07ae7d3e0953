"""docs/performance.md, made from the committed results."""
