"""The environment of a run: date, versions, device, threads, and the commit if the package comes from a checkout."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import warnings
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("revgnn", "torch", "torch-geometric", "numpy", "numba", "scipy", "scikit-learn", "safetensors", "triton")


def describe(device: torch.device) -> dict[str, Any]:
    """Return the environment, ready for JSON."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": _commit(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }


def with_earlier(environment: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return the environment of a resumed run, with those in which it was trained so far as `earlier`, and warn if it changed.

    Args:
        file: environment.json as the run left it.
    """
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        earlier = [*before.pop("earlier", []), before]
        changes = _changes(before, environment)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        warnings.warn(f"{file} cannot be read, so it is not known whether the run was begun with other versions.", stacklevel=2)
        return environment
    if not changes:
        return environment if len(earlier) == 1 else {**environment, "earlier": earlier[:-1]}
    warnings.warn(
        f"the run in {file.parent} was begun with {', '.join(changes)}; its results may differ in their last digits from those of "
        "a run that never stopped.",
        stacklevel=2,
    )
    return {**environment, "earlier": earlier}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs of everything that the bits of a training depend on."""
    versions, others = now["packages"], before["packages"]
    changes = [
        f"{name} {others.get(name, 'missing')} (now {versions.get(name, 'missing')})"
        for name in _PACKAGES
        if others.get(name) != versions.get(name)
    ]
    if before["threads"] != now["threads"]:
        changes.append(f"{before['threads']} threads (now {now['threads']}; OMP_NUM_THREADS sets them)")
    if before["device"] != now["device"]:
        changes.append(f"{before['device']} (now {now['device']})")
    return changes


def _cpu_name() -> str:
    """Return the name from /proc/cpuinfo on Linux, else the name that Python reports."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return next(filter(None, names), platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the checkout that contains this package, with "-dirty" if files differ; None outside a checkout."""
    package = Path(__file__).resolve().parents[2]
    checkout = package.parents[1]
    # An installed package may be inside another repository, whose commit must not be reported.
    if not (checkout / ".git").exists() or package != checkout / "src" / "revgnn":
        return None
    command = ["git", "--no-optional-locks", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
