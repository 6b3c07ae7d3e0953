"""Other people's code: PyTorch Geometric's reversible layer, models made of it, and the checkpoints of the paper's authors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revgnn._lazy import lazy_names

if TYPE_CHECKING:
    from revgnn.interop.conversion import convert
    from revgnn.interop.group_add_rev import GroupAddRev
    from revgnn.interop.official import OfficialError, export_official, import_official
    from revgnn.interop.pyg_weights import pyg_state_dict

__all__ = ["GroupAddRev", "OfficialError", "convert", "export_official", "import_official", "pyg_state_dict"]

_HOMES = {
    "revgnn.interop.conversion": ("convert",),
    "revgnn.interop.group_add_rev": ("GroupAddRev",),
    "revgnn.interop.official": ("OfficialError", "export_official", "import_official"),
    "revgnn.interop.pyg_weights": ("pyg_state_dict",),
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
