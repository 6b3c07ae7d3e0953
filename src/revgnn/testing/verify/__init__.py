"""Check an installation on its own device: kernels, exactness at depth, memory, threads. `revgnn verify` prints the result.

Each check compares what users rely on with what defines it, on generated inputs, and says by how much it is off. Together they take
about 20 seconds on two CPU cores, and under a minute the first time, when the kernels are compiled.
"""

from revgnn.testing.verify.check import Check, Finding
from revgnn.testing.verify.run import checked_device, checks, verify

__all__ = ["Check", "Finding", "checked_device", "checks", "verify"]
