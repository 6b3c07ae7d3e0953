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
from torch import Tensor, contiguous_format, uint8

from revgnn.files import replacing


class CheckpointError(ValueError):
    """A weights or state file that is damaged or belongs to another run."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors and a note that JSON can hold. The old file stays until the new one is complete.

    A tensor with several names, as the weights of tied layers have, is written once.

    Raises:
        OSError: if the file cannot be written, as on a full disk. It names the file.
    """
    same = _other_names(tensors)
    packed = _without_shared_memory({name: tensor for name, tensor in tensors.items() if name not in same})
    text = json.dumps(dict(note))
    header = {"note": text, "checksum": str(_checksum(packed, text, same))}
    if same:
        header["same"] = json.dumps(same)
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
            # copied: what is read would be a map of the file, and reading it would end the process once the file is cut short
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (not a mapping)
        text, same = header["note"], json.loads(header.get("same", "{}"))
        if "checksum" in header:
            expected, found = int(header["checksum"]), _checksum(tensors, text, same)
        else:  # written when checksums did not cover names, shapes, dtypes and the note
            expected, found = int(header["crc32"]), checksum_of_values(tensors)
        named_again = {name: tensors[first] for name, first in dict(same).items()}
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or was not written by revgnn ({' '.join(str(error).split())}).") from None
    if found != expected:
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content.")
    return tensors | named_again, read_note(text, path)


def read_note(text: str, path: Path) -> dict[str, Any]:
    """Return the note in the header of a file.

    Raises:
        CheckpointError: if it is no JSON object.
    """
    try:
        note = json.loads(text)
    except (ValueError, RecursionError):
        note = None
    if not isinstance(note, dict):
        raise CheckpointError(f"{path} is damaged or was not written by revgnn: its note is not a JSON object.")
    return note


def _other_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return, for every name of a tensor that has an earlier name, that name."""
    first: dict[tuple[object, ...], str] = {}
    same = {}
    for name, tensor in tensors.items():
        if tensor.numel() > 1:
            where = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            if first.setdefault(where, name) != name:
                same[name] = first[where]
    return same


def _without_shared_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors on the CPU. Those that share a part of their memory are copied: the format refuses them."""
    packed: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.numel() <= 1:  # contiguous, whatever the strides
            tensor = tensor.clone(memory_format=contiguous_format)
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        packed[name] = tensor
    return packed


def _checksum(tensors: Mapping[str, Tensor], note: str, same: Mapping[str, str]) -> int:
    """Return the CRC-32 of everything that is read: the note; names, dtypes, shapes and values of all tensors; other names.

    safetensors itself finds a file that was cut short, but no changed byte.
    """
    return checksum_of_values(tensors, checksum_of_names(tensors, note, same))


def checksum_of_names(tensors: Mapping[str, Tensor], note: str, same: Mapping[str, str]) -> int:
    """Return the CRC-32 of everything but the values of the tensors, with which that of the values begins."""
    described: list[object] = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in sorted(tensors)]
    text = json.dumps([note, described, same] if same else [note, described])
    return zlib.crc32(text.encode())


def checksum_of_values(tensors: Mapping[str, Tensor], crc: int = 0) -> int:
    """Return the CRC-32 of the values of the tensors, in the order of their names."""
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(uint8).numpy().data, crc)
    return crc


def _as_os_error(error: SafetensorError) -> OSError:
    """Return the error of the operating system that safetensors met: it has only its number in the text."""
    match = re.search(r"os error (\d+)", str(error))
    number = int(match[1]) if match else errno.EIO
    return OSError(number, os.strerror(number) if match else " ".join(str(error).split()))
