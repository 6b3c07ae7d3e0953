"""Benchmarks of revgnn and of its peers, not part of the installed package. `python -m benchmarks` lists them."""
