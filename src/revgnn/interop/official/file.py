"""Files of the authors' `save_ckpt`: a dict with `model_state_dict`, `epoch`, `loss` and the optimiser's state, by `torch.save`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revgnn.data.readers.torch_file import read_torch_dict
from revgnn.files import replacing


class OfficialError(ValueError):
    """A checkpoint of the authors that cannot be read, or a run that cannot be written as one."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file.

    Attributes:
        tensors: weights and buffers by the authors' names.
        args: the arguments of the authors' program, if the file has them under `args`; their own files do not.
        epoch: the epoch of the weights; 0 if the file does not say.
    """

    tensors: dict[str, Tensor]
    args: dict[str, Any]
    epoch: int


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint with torch's restricted loader (`weights_only`): nothing in the file is executed.

    The file holds a dict with `model_state_dict`, or is a state dict itself. `args`, a dict or an `argparse.Namespace`, is read
    too.

    Raises:
        OfficialError: if the file is damaged, or holds anything else.
        FileNotFoundError: if there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the .pth file of a checkpoint.")
    try:
        # a namespace is a plain record: it runs nothing when it is read
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = read_torch_dict(path, "a checkpoint of torch.save, with tensors and numbers only")
    except ValueError as error:
        raise OfficialError(str(error)) from None
    args = content.get("args", {})
    args = vars(args) if isinstance(args, argparse.Namespace) else args
    if not isinstance(args, dict):
        raise OfficialError(f"args in {path} must be a dict or a namespace, got {type(args).__name__}.")
    tensors = content.get("model_state_dict", content)
    if not isinstance(tensors, dict) or not tensors or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise OfficialError(
            f"{path} must hold a dict with model_state_dict, or a state dict of tensors; its keys are "
            f"{', '.join(map(str, list(content)[:6])) or 'none'}."
        )
    epoch = content.get("epoch", 0) if tensors is not content else 0
    return Checkpoint(dict(tensors), args, epoch if isinstance(epoch, int) else 0)


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], args: Mapping[str, Any], epoch: int) -> None:
    """Write a checkpoint that `read_checkpoint` and the authors' code read. The old file stays until the new one is complete."""
    with replacing(path) as temporary:
        torch.save({"epoch": epoch, "model_state_dict": dict(tensors), "args": dict(args)}, temporary)
