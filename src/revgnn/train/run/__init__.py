"""One training run: its session in memory, its training loop, its folder."""
