"""One training run: its session, its loop, its folder."""
