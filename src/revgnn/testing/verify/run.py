"""All checks, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import torch

from revgnn.kernels import backends
from revgnn.testing.verify.check import Check, Finding, Measured, Status
from revgnn.testing.verify.compile_ahead import compiling_ahead
from revgnn.testing.verify.depth import exactness_checks
from revgnn.testing.verify.determinism import determinism_checks
from revgnn.testing.verify.kernels import kernel_checks
from revgnn.testing.verify.memory import memory_checks


def verify(device: torch.device | str = "cpu", *, on_start: Callable[[Check], object] | None = None) -> Iterator[Finding]:
    """Run every check on a device, one after the other.

    Args:
        device: "cpu", "cuda" or one of several, such as "cuda:1".
        on_start: called before each check.

    Yields:
        What each check found. A check that raises has failed; the next one runs all the same.

    Raises:
        ValueError: if there is no such device.
    """
    device = checked_device(device)
    to_run = checks(device)
    with ExitStack() as ahead:
        if sum(check.compiles for check in to_run) > 1:
            ahead.enter_context(compiling_ahead(device))
        for check in to_run:
            if not check.compiles:
                ahead.close()
            if on_start is not None:
                on_start(check)
            yield _run(check)


def _run(check: Check) -> Finding:
    start = time.perf_counter()
    try:
        found = check.run()
    except Exception as error:  # a kernel that does not compile or launch raises anything
        found = Measured("-", "-", f"{type(error).__name__}: {' '.join(str(error).split())[:600]}")
    seconds = time.perf_counter() - start
    status: Status = ("FAILED" if found.wrong else "ok") if check.claimed else "not claimed"
    message = f"{found.wrong} What to do: {check.advice}" if status == "FAILED" else found.wrong
    return Finding(check.name, check.compared, found.worst, found.allowed, seconds, status, message)


def checks(device: torch.device, backend: str | None = None) -> list[Check]:
    """Return the checks for a device.

    Args:
        device: the CPU or a CUDA device.
        backend: whose kernels to check, by default those that run on this device. "gpu" on the CPU, in Triton's interpreter, checks
            the kernels alone, on small inputs.
    """
    chosen = backends.choose(backend, device)
    found = kernel_checks(device, chosen) if chosen != "reference" else [_no_kernels(device)]
    if backend is not None:
        return found
    return [*found, *exactness_checks(device), *memory_checks(device), *determinism_checks(device)]


def checked_device(device: torch.device | str) -> torch.device:
    """Return a device on which `verify` runs; "auto" is cuda if there is such a device, else cpu.

    Raises:
        ValueError: if there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except RuntimeError:
        raise ValueError(f"there is no device {str(device)!r}; choose auto, cpu, cuda or one of several, such as cuda:1.") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"verify runs on cpu and cuda devices, got {device}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"there is no device {device}: torch sees {torch.cuda.device_count()} CUDA devices; choose another, or cpu."
        )
    return device


def _no_kernels(device: torch.device) -> Check:
    def run() -> Measured:
        return Measured("-", "-", "triton is not installed, so that operators run in plain torch; pip install triton.")

    return Check(f"kernels on {device.type}", "nothing: there are no kernels for this device", run, "", claimed=False)
