"""Splits from a file of their own: a published split of a data set that has none, or the split of another program."""

from __future__ import annotations

from pathlib import Path

from revgnn.data.dataset import Split
from revgnn.data.readers.arrays import splits_of_arrays
from revgnn.data.readers.npz import read_fields

_PARTS = ("train", "valid", "test")


def read_splits(path: Path | str, num_rows: int) -> tuple[Split, ...]:
    """Read splits from an `.npz` file with arrays `train`, `valid` and `test`, by these or the other names of `readers.npz`.

    Each array has the numbers of its nodes (one split), or is a mask: bool, (N,), (S, N) or (N, S) for S splits. `test`, or
    `valid`, may be missing. Nothing is unpickled.

    Args:
        path: the file.
        num_rows: number of nodes; of a data set of graphs: of graphs.

    Raises:
        ValueError: if the file is missing or damaged, holds other arrays or Python objects, has no training nodes, or an array
            does not fit the number of nodes.
    """
    path = Path(path)
    arrays = read_fields(path)
    others = [field for field in arrays if field not in _PARTS]
    if others:
        raise ValueError(
            f"{path} holds {', '.join(others)} beside splits; a file of splits has train, valid and test alone. A graph with its "
            "own splits is a data set: revgnn train FILE."
        )
    if "train" not in arrays:
        raise ValueError(f"{path} holds no training nodes; it needs an array train: numbers of nodes, or a mask of bool.")
    try:
        return splits_of_arrays(arrays, num_rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
