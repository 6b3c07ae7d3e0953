"""Dicts of plain arrays and numbers in files of `torch.save`, read with torch's restricted loader: nothing is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch


def read_torch_dict(path: Path, what: str) -> dict[str, Any]:
    """Return the dict in a file that OGB's `DatasetSaver` wrote: tensors, arrays, numbers, strings and plain containers.

    Args:
        path: the file.
        what: what it should hold, for messages.

    Raises:
        ValueError: if the file is missing, is damaged, or holds anything else.
    """
    rebuild: Any = np.empty(0).__reduce__()[0]  # numpy's `_reconstruct`; its module has another name in NumPy 1 and in NumPy 2
    scalar: Any = np.int64(0).__reduce__()[0]
    by_name = [
        (function, f"numpy.{core}.multiarray.{name}")
        for function, name in ((rebuild, "_reconstruct"), (scalar, "scalar"))
        for core in ("core", "_core")
    ]
    dtypes = [type(np.dtype(dtype)) for dtype in (np.int64, np.int32, np.float64, np.float32, np.bool_)]
    try:
        with torch.serialization.safe_globals([np.ndarray, np.dtype, *dtypes, *by_name]):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or malicious pickle can cause any
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path} cannot be read as {what}: {reason}") from None
    if not isinstance(stored, dict):
        raise ValueError(f"{path} must hold a dict ({what}), got {type(stored).__name__}.")
    return stored
