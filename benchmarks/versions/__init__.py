"""Two versions of the package beside each other: `python -m benchmarks versions`."""
