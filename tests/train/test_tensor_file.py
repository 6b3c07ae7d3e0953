"""Files of tensors: exact, replaced in one step, and checked when read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.train.run.tensor_file import CheckpointError, read_tensors, write_tensors

SHARED = torch.arange(12.0).view(3, 4)
TENSORS = {
    "matrix": SHARED,
    "same": SHARED,
    "view": SHARED[:, 1],
    "scalar": torch.tensor(0.1, dtype=torch.float64),
    "short": torch.randn(5).bfloat16(),
    "state": torch.arange(8, dtype=torch.uint8),
    "empty": torch.empty(0, 3),
}
NOTE = {"epoch": 3, "loss": 0.1 + 0.2, "best": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, NOTE)
    return path


def test_round_trip_is_exact(path: Path) -> None:
    tensors, note = read_tensors(path)
    assert note == NOTE
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_no_temporary_file_is_left(path: Path) -> None:
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_file_cut_short_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=str(path)):
        read_tensors(path)


def test_a_changed_byte_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        read_tensors(path)


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="not written by revgnn"):
        read_tensors(tmp_path / "b.safetensors")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_tensors(tmp_path / "c.safetensors")
