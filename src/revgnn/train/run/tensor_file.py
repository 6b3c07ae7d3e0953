"""Named tensors and a note in one safetensors file. It is replaced in one step, and checked when it is read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, uint8

from revgnn.files import replacing


class CheckpointError(ValueError):
    """A weights or state file that is damaged or belongs to another run."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors and a note that JSON can hold. The old file stays until the new one is complete."""
    packed = _without_shared_memory(tensors)
    header = {"note": json.dumps(dict(note)), "crc32": str(_checksum(packed))}
    with replacing(path) as temporary:
        save_file(packed, temporary, metadata=header)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, on the CPU, and the note of a file that `write_tensors` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is cut short or damaged, or if another program wrote it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        note, expected = json.loads(header["note"]), int(header["crc32"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or was not written by revgnn ({' '.join(str(error).split())}).") from None
    if _checksum(tensors) != expected:
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content.")
    return tensors, note


def _without_shared_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors on the CPU. Those that share memory, as in tied layers, are copied: the format refuses them."""
    packed: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        packed[name] = tensor
    return packed


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """Return the CRC-32 of all tensors in order of their names. safetensors itself finds a file cut short, but no changed byte."""
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(uint8).numpy().data, crc)
    return crc
