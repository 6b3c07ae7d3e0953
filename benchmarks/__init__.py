"""Benchmarks: ours beside the peers', in turns, in one process."""
