"""Which kernels an operator runs on: those of the CPU, those of the GPU, or its definition in plain torch."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings

import torch

NAMES = ("cpu", "gpu", "reference")


def choose(backend: str | None, device: torch.device) -> str:
    """The backend that was asked for, if it can run on `device`; by default the fused kernels of the device, or else the reference.

    The GPU kernels are written in Triton. On tensors of the CPU they run in Triton's interpreter, slowly, for tests: it has to be
    turned on by `TRITON_INTERPRET=1` in the environment before anything imports triton.

    Raises:
        ValueError: for an unknown name, or a backend that this device or this installation cannot run.
    """
    if backend is None:
        if device.type == "cpu":
            return "cpu"
        if device.type == "cuda" and has_triton():
            return "gpu"
        if device.type == "cuda":
            _say_slow()
        return "reference"
    if backend not in NAMES:
        raise ValueError(f"unknown backend {backend!r}; choose 'cpu', 'gpu' or 'reference'.")
    if backend == "cpu" and device.type != "cpu":
        raise ValueError(
            f"backend 'cpu' works on tensors of the CPU, and these are on {device}; leave backend out, or choose 'gpu'."
        )
    if backend == "gpu":
        if not has_triton():
            raise ValueError("backend 'gpu' needs triton, which is not installed; install it, or choose 'reference'.")
        if device.type != "cuda" and not (device.type == "cpu" and interpreted()):
            raise ValueError(
                f"backend 'gpu' works on CUDA tensors, and these are on {device}; move them, choose 'cpu' or 'reference', or, to "
                "test the kernels without a GPU, start with TRITON_INTERPRET=1."
            )
    return backend


@functools.cache
def has_triton() -> bool:
    """Whether triton is installed; it is not imported."""
    return importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """Whether Triton kernels are interpreted on the CPU rather than compiled."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


@functools.cache
def _say_slow() -> None:
    warnings.warn(
        "triton is not installed, so operators on CUDA run in plain torch and build a message for each edge and channel; "
        "install triton for the fused kernels.",
        stacklevel=4,
    )
