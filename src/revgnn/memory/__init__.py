"""Measure how many bytes of tensors a piece of code needs at once, or rehearse it to know that beforehand."""

from revgnn.memory.cpu import python_kernel
from revgnn.memory.peak import PeakMemory
from revgnn.memory.rehearsal import Allocation, Rehearsal, rehearsing

__all__ = ["Allocation", "PeakMemory", "Rehearsal", "python_kernel", "rehearsing"]
