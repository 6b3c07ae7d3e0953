"""Kernels of the CPU: numba on explicit vectors, run on torch's own threads."""
