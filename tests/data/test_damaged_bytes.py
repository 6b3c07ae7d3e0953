"""Files with flipped bits and arrays of unexpected types: read, or refused in one line that names the file, never a crash."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from revgnn.data import read_npz

FIELDS = {
    "edge_index": np.random.default_rng(0).integers(0, 20, (2, 60)),
    "undirected": True,
    "x": np.ones((20, 3)),
    "y": np.arange(20) % 3,
    "edge_attr": np.ones((60, 2)),
    "species": np.arange(20) % 4,
    "num_classes": 3,
    "task": "multiclass",
    "metric": "accuracy",
    "name": "mine",
    "train_mask": np.arange(20) < 10,
    "valid_mask": np.arange(20) == 12,
    "test_mask": np.arange(20) == 13,
}

VALUES = [
    np.float64("nan"),
    np.array([]),
    np.zeros((0, 3)),
    np.array(1 + 2j),
    np.array(["x", "y"]),
    np.array([b"bytes"]),
    np.zeros((20, 3, 2)),
    np.full(20, np.inf),
    np.full(20, 2**63, np.uint64),
    np.zeros(20, "datetime64[s]"),
    np.zeros(20, "V4"),
    np.zeros(20, [("a", "i4")]),
    np.float16(1),
    np.ones(20, np.longdouble),
    np.arange(20, dtype=">f4"),
    np.ones((2, 60), bool),
    np.full((2, 60), 2**63, np.uint64),
    np.full((2, 60), -(2**63)),
    np.zeros((2, 0), int),
    np.zeros((20, 0)),
    10**9,
    -1,
    "",
    np.zeros((20, 20), bool),
    np.float64(1e300),
    np.full((20, 2), 1e39),
]


def _read_or_refuse(path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_npz(path)
    except ValueError as error:
        return str(error)
    return str(path)


@pytest.mark.parametrize("field", FIELDS)
def test_values_of_any_type(tmp_path, field):
    path = tmp_path / "mine.npz"
    for value in VALUES:
        np.savez(path, **FIELDS | {field: value})
        message = _read_or_refuse(path)
        assert str(path) in message
        assert "\n" not in message
        assert len(message) < 1000


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_flipped_bits_and_cut_files(tmp_path, save):
    path, rng = tmp_path / "mine.npz", np.random.default_rng(0)
    save(path, **FIELDS)
    whole = path.read_bytes()
    for trial in range(400):
        blob = bytearray(whole if trial % 10 else whole[: rng.integers(len(whole))])
        for position in rng.integers(0, max(1, len(blob)), 1 + trial % 3):
            if position < len(blob):
                blob[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(blob)
        message = _read_or_refuse(path)
        assert str(path) in message
        assert "\n" not in message
