"""Measure how many bytes of tensors a piece of code needs at once."""

from revgnn.memory.cpu import python_kernel
from revgnn.memory.peak import PeakMemory

__all__ = ["PeakMemory", "python_kernel"]
