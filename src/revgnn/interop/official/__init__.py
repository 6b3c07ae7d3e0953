"""Checkpoints of the paper's authors (https://github.com/lightaime/deep_gcns_torch, `examples/ogb_eff`), in both directions.

`layout` is what the two kinds of network have in common, `revgnn` and `revgat` are their names and shapes, `file` reads and writes
the files, `run` makes run folders of them.
"""

from revgnn.interop.official.file import OfficialError
from revgnn.interop.official.run import export_official, import_official

__all__ = ["OfficialError", "export_official", "import_official"]
