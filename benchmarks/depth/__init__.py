"""Time and memory of a training step against depth and groups: `python -m benchmarks depth`."""
