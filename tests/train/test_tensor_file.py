"""Files of tensors: exact, replaced in one step, and checked when read."""

from __future__ import annotations

import resource
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


def test_weights_of_tied_layers_are_written_once(tmp_path: Path) -> None:
    layer = torch.nn.Linear(64, 64)
    tied, single = torch.nn.ModuleList([layer] * 50), torch.nn.ModuleList([layer])
    for name, model in (("tied", tied), ("single", single)):
        write_tensors(tmp_path / name, model.state_dict(), {})
    names_of_layers = 50 * 2 * 64
    assert (tmp_path / "tied").stat().st_size < (tmp_path / "single").stat().st_size + names_of_layers
    tensors, _ = read_tensors(tmp_path / "tied")
    fresh = torch.nn.ModuleList([torch.nn.Linear(64, 64)] * 50)
    fresh.load_state_dict(tensors)
    assert torch.equal(fresh[49].weight, layer.weight)


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


def test_every_flipped_bit_of_the_header_is_found(path: Path) -> None:
    """Names, dtypes, shapes and the note are covered like the values; a bit without a meaning changes nothing."""
    whole = path.read_bytes()
    expected, note = read_tensors(path)
    header = 8 + int.from_bytes(whole[:8], "little")
    refused = 0
    for bit in range(64, 8 * header):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            tensors, found = read_tensors(path)
        except CheckpointError:
            refused += 1
            continue
        assert found == note, bit
        for name, tensor in expected.items():
            assert tensors[name].dtype == tensor.dtype, bit
            assert torch.equal(tensors[name], tensor), bit
    assert refused > 0.9 * 8 * (header - 8)


def test_a_file_of_earlier_versions_is_read(tmp_path: Path) -> None:
    """Their checksum covers the values only."""
    from safetensors.torch import save_file

    path = tmp_path / "old.safetensors"
    save_file({"a": torch.arange(4.0)}, path, metadata={"note": '{"epoch": 3}', "crc32": "627055499"})
    tensors, note = read_tensors(path)
    assert note == {"epoch": 3}
    assert torch.equal(tensors["a"], torch.arange(4.0))


@pytest.mark.parametrize("note", ["[1]", "3", "{", "[" * 100_000])
def test_a_note_that_is_no_object_is_refused(tmp_path: Path, note: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "b.safetensors"
    save_file({"a": torch.arange(4.0)}, path, metadata={"note": note, "crc32": "627055499"})
    with pytest.raises(CheckpointError, match="its note is not a JSON object"):
        read_tensors(path)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    from revgnn.train.run import tensor_file

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_file, "save_file", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        write_tensors(tmp_path / "a.safetensors", TENSORS, NOTE)
    assert (error.value.errno, error.value.filename) == (28, str(tmp_path / "a.safetensors"))
    assert not any(tmp_path.iterdir())


def test_a_file_that_the_system_refuses_to_grow_is_named(path: Path) -> None:
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            write_tensors(path, {"a": torch.zeros(10_000)}, NOTE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename == str(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
