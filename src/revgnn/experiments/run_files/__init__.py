"""Runs as they lie on disk, read while a process may be writing them. Does not import torch."""
