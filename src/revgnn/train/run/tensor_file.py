"""Named tensors and a note in one safetensors file. It is replaced in one step, and checked when it is read."""

from __future__ import annotations

import errno
import json
import os
import re
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
    """Write tensors and a note that JSON can hold. The old file stays until the new one is complete.

    Raises:
        OSError: if the file cannot be written, as on a full disk. It names the file.
    """
    packed = _without_shared_memory(tensors)
    text = json.dumps(dict(note))
    header = {"note": text, "checksum": str(_checksum(packed, text))}
    with replacing(path) as temporary:
        try:
            save_file(packed, temporary, metadata=header)
        except SafetensorError as error:
            raise _as_os_error(error) from error


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
        text = header["note"]
        if "checksum" in header:
            expected, found = int(header["checksum"]), _checksum(tensors, text)
        else:  # written when checksums did not cover names, shapes, dtypes and the note
            expected, found = int(header["crc32"]), _checksum_of_values(tensors)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged or was not written by revgnn ({' '.join(str(error).split())}).") from None
    if found != expected:
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content.")
    return tensors, _read_note(text, path)


def _read_note(text: str, path: Path) -> dict[str, Any]:
    try:
        note = json.loads(text)
    except (ValueError, RecursionError):
        note = None
    if not isinstance(note, dict):
        raise CheckpointError(f"{path} is damaged or was not written by revgnn: its note is not a JSON object.")
    return note


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


def _checksum(tensors: Mapping[str, Tensor], note: str) -> int:
    """Return the CRC-32 of everything that is read: the note; names, dtypes, shapes and values of all tensors.

    safetensors itself finds a file that was cut short, but no changed byte.
    """
    described = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in sorted(tensors)]
    return _checksum_of_values(tensors, zlib.crc32(json.dumps([note, described]).encode()))


def _checksum_of_values(tensors: Mapping[str, Tensor], crc: int = 0) -> int:
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(uint8).numpy().data, crc)
    return crc


def _as_os_error(error: SafetensorError) -> OSError:
    """Return the error of the operating system that safetensors met: it has only its number in the text."""
    match = re.search(r"os error (\d+)", str(error))
    number = int(match[1]) if match else errno.EIO
    return OSError(number, os.strerror(number) if match else " ".join(str(error).split()))
