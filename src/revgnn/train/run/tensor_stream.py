"""The file of `tensor_file`, written and read tensor by tensor, for runs whose state no process can hold."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from revgnn.files import replacing
from revgnn.train.run.tensor_file import CheckpointError, checksum_of_names, checksum_of_values, read_note

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.bool: "BOOL",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
}
"""What safetensors calls the dtypes."""

_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def write_one_by_one(
    path: Path, described: Mapping[str, Tensor], values: Iterator[Tensor], note: Mapping[str, Any], same: Mapping[str, str]
) -> None:
    """Write a file that `read_tensors` reads. The old file stays until the new one is complete.

    Args:
        described: a tensor of the meta device by name.
        values: the tensors, on the CPU, in the order of their names.
        note: values that JSON can hold.
        same: further names, and for each the name in `described` whose tensor has it too.

    Raises:
        OSError: if the file cannot be written. It names the file.
    """
    text = json.dumps(dict(note))
    # safetensors puts wider numbers first, so that all are aligned
    order = sorted(described, key=lambda name: (-described[name].element_size(), name))
    places, size = {}, 0
    for name in order:
        places[name] = size, (size := size + _size(described[name]))
    entries: dict[str, Any] = {
        name: {"dtype": _NAMES[described[name].dtype], "shape": list(described[name].shape), "data_offsets": list(places[name])}
        for name in order
    }

    def header(checksum: int) -> bytes:
        # as many digits for any checksum
        about = {"note": text, "checksum": f"{checksum:010d}"} | ({"same": json.dumps(dict(same))} if same else {})
        written = json.dumps({"__metadata__": about, **entries}, separators=(",", ":")).encode()
        return len(padded := written + b" " * (-len(written) % 8)).to_bytes(8, "little") + padded

    crc, start = checksum_of_names(described, text, same), len(header(0))
    with replacing(path) as temporary, open(temporary, "rb+") as file:
        file.truncate(start + size)
        for name, tensor in zip(sorted(described), values, strict=True):
            assert (tensor.dtype, tensor.shape) == (described[name].dtype, described[name].shape), name
            data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
            crc = zlib.crc32(data, crc)
            file.seek(start + places[name][0])
            file.write(data)
        file.seek(0)
        file.write(header(crc))


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class OpenTensors:
    """A file that `write_tensors` or `write_one_by_one` wrote, open for reading.

    Attributes:
        described: a tensor of the meta device for each name, further names of a tensor included.
        note: the note.
    """

    def __init__(self, file: Any, path: Path) -> None:
        header = file.metadata() or {}
        text, same = header["note"], dict(json.loads(header.get("same", "{}")))
        self._file = file
        self._first = same
        own = {name: self._describe(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        self.described = own | {name: own[first] for name, first in same.items()}
        if "checksum" in header:
            expected, crc = int(header["checksum"]), checksum_of_names(own, text, same)
        else:  # see `read_tensors`
            expected, crc = int(header["crc32"]), 0
        if checksum_of_values(_Values(self, own), crc) != expected:
            raise CheckpointError(f"{path} is damaged: its checksum does not match its content.")
        self.note = read_note(text, path)

    def _describe(self, name: str) -> Tensor:
        found = self._file.get_slice(name)
        return torch.empty(found.get_shape(), dtype=_DTYPES[found.get_dtype()], device="meta")

    def read(self, name: str) -> Tensor:
        """Return one tensor, on the CPU."""
        return self._file.get_tensor(self._first.get(name, name)).clone()


class _Values(dict[str, Any]):
    """The tensors of an open file by name, each read when it is asked for."""

    def __init__(self, tensors: OpenTensors, names: Mapping[str, Tensor]) -> None:
        super().__init__(names)
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors.read(name)


def open_tensors(path: Path) -> OpenTensors:
    """Open a file and check all of it. It is closed when the result is deleted.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is cut short or damaged, or if another program wrote it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        return OpenTensors(safe_open(path, framework="pt", device="cpu"), path)
    except CheckpointError:
        raise
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or was not written by revgnn ({' '.join(str(error).split())}).") from None
