"""Labels in a file of their own, one a node, beside a file that holds edges only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from revgnn.data.readers.file_kind import describe_file
from revgnn.data.readers.text_file import check_size

if TYPE_CHECKING:
    import pyarrow as pa

_TEXT_ENDINGS = (".txt", ".csv", ".labels", ".clu")


def read_labels(path: Path) -> dict[str, pa.Array]:
    """Return the columns of labels in a file: `label`, or `label_0`, `label_1` and so on.

    Args:
        path: an .npy file, (N,) numbers or strings, or (N, T) of 0 and 1; or text (.txt, .csv, .labels, Pajek's .clu) with a label
            a line. -1, NaN or an empty line: no label.

    Raises:
        ValueError: in one line, if it cannot be read or has another shape.
    """
    check_size(path)
    if path.name.casefold().endswith(".npy"):
        return _columns(_read_npy(path), path)
    if not path.name.casefold().endswith(_TEXT_ENDINGS):
        raise ValueError(f"{path} is no file of labels: its name must end in .npy, {', '.join(_TEXT_ENDINGS)}.")
    return {"label": _read_text(path)}


def _read_npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except Exception as error:  # NumPy reads the header as a literal of Python: a damaged one can cause any
        raise ValueError(f"{path} cannot be read as .npy ({' '.join(str(error).split())[:100]}): {describe_file(path)}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is an archive of arrays; save the labels alone, with numpy.save.")
    return np.array(array)


def _columns(array: np.ndarray, path: Path) -> dict[str, pa.Array]:
    import pyarrow as pa

    if array.ndim == 2 and array.shape[1] == 1:
        array = array.reshape(-1)
    if array.ndim not in (1, 2) or array.dtype.kind not in ("biufU" if array.ndim == 1 else "biuf"):
        raise ValueError(
            f"{path} holds {array.dtype} of shape {array.shape}; labels are (N,) numbers or text, or (N, T) of 0 and 1."
        )
    if array.ndim == 1:
        if array.dtype.kind == "U":
            missing = array == ""
        else:
            missing = np.isnan(array) | (array == -1)
        array = array.astype(np.int64) if array.dtype.kind == "b" else array
        return {"label": pa.array(array, mask=missing)}
    if array.shape[1] > 10_000:
        raise ValueError(f"{path} holds {array.shape[1]:,} labels a node; is it a matrix of something else?")
    matrix = array.astype(np.float64)
    return {f"label_{t}": pa.array(matrix[:, t], mask=np.isnan(matrix[:, t])) for t in range(matrix.shape[1])}


def _read_text(path: Path) -> pa.Array:
    import pyarrow as pa

    from revgnn.data.tables.kinds import LABEL_NAMES

    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: {describe_file(path)}") from None
    # A header: Pajek's `*Vertices N`, or the name of a column.
    if lines and (lines[0].startswith("*") or lines[0].casefold() in LABEL_NAMES):
        lines = lines[1:]
    several = next((number for number, line in enumerate(lines, 1) if "," in line or "\t" in line), None)
    if several is not None:
        raise ValueError(
            f"{path}, line {several}: {lines[several - 1][:40]!r} has several cells; a file of labels has one a line. Give ids and "
            "labels as a table of nodes: --nodes TABLE --edges GRAPH."
        )
    return pa.array([None if line in ("", "-1") else line for line in lines], pa.string())
