"""Files that are written and read tensor by tensor are those that are written and read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from revgnn.train.run.tensor_file import CheckpointError, read_tensors, write_tensors
from revgnn.train.run.tensor_stream import open_tensors, write_one_by_one

TENSORS = {
    "b.weight": torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
    "rng": torch.arange(13, dtype=torch.uint8),  # of odd length: what follows must still be aligned
    "a": torch.tensor(3, dtype=torch.int64),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "double": torch.tensor([-0.0, float("inf")], dtype=torch.float64),
    "empty": torch.zeros(0, 4),
    "flags": torch.tensor([True, False, True]),
}
NOTE = {"epoch": 3, "text": "größer"}
SAME = {"c.weight": "b.weight"}


def write(path: Path, **changes: Any) -> None:
    described = {name: torch.empty_like(t, device="meta") for name, t in TENSORS.items()}
    values = iter([TENSORS[name] for name in sorted(TENSORS)])
    write_one_by_one(path, **{"described": described, "values": values, "note": NOTE, "same": SAME, **changes})


def assert_same(found: dict[str, Tensor]) -> None:
    assert found.keys() == TENSORS.keys() | SAME.keys()
    for name, tensor in found.items():
        expected = TENSORS[SAME.get(name, name)]
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected), name


def test_what_is_written_one_by_one_is_read_at_once(tmp_path: Path) -> None:
    write(tmp_path / "f")
    found, note = read_tensors(tmp_path / "f")
    assert_same(found)
    assert note == NOTE


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_written_is_read_one_by_one(tmp_path: Path, streamed: bool) -> None:
    if streamed:
        write(tmp_path / "f")
    else:
        write_tensors(tmp_path / "f", TENSORS | {"c.weight": TENSORS["b.weight"]}, NOTE)
    opened = open_tensors(tmp_path / "f")
    assert opened.note == NOTE
    assert {name: (t.dtype, t.shape) for name, t in opened.described.items()} == {
        name: (TENSORS[SAME.get(name, name)].dtype, TENSORS[SAME.get(name, name)].shape) for name in TENSORS.keys() | SAME.keys()
    }
    assert_same({name: opened.read(name) for name in opened.described})


def test_damage_is_found(tmp_path: Path) -> None:
    write(tmp_path / "f")
    content = (tmp_path / "f").read_bytes()
    for place in (1, content.index(b"epoch"), len(content) - 60, len(content) - 1):
        (tmp_path / "f").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        for read in (open_tensors, read_tensors):
            with pytest.raises(CheckpointError, match="is damaged"):
                read(tmp_path / "f")
    (tmp_path / "f").write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="is damaged"):
        open_tensors(tmp_path / "f")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_tensors(tmp_path / "g")


def test_nothing_is_left_of_a_file_whose_writing_fails(tmp_path: Path) -> None:
    write(tmp_path / "f")
    before = (tmp_path / "f").read_bytes()

    def broken() -> Any:
        yield TENSORS["a"]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "f", values=broken())
    assert (tmp_path / "f").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
