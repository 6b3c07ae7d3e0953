"""Results as JSON lines with a record of the machine. What was measured survives an interruption."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from revgnn.files import replacing
from revgnn.train.run import environment

_ROOT = Path(__file__).resolve().parents[2]
RESULTS = _ROOT / "benchmarks" / "results"
"""Default folder of the JSON lines."""
FIGURES = _ROOT / "docs" / "figures"
"""Default folder of the plots."""


class Result(dict[str, Any]):
    """What a benchmark has measured so far."""

    def __init__(self, values: Mapping[str, Any], partial: Path) -> None:
        super().__init__(values)
        self.partial = partial

    def save_partial(self) -> None:
        """Write the present state to disk. If the process is killed, the next run adds it to the results."""
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.partial) as new:
            new.write_text(json.dumps(self), encoding="utf-8")


@contextmanager
def result_line(
    name: str, shape: Mapping[str, Any], args: argparse.Namespace, device: torch.device | str = "cpu"
) -> Iterator[Result]:
    """Yield a result that the caller fills, and add it as one JSON line to `NAME.jsonl` at the end.

    If the benchmark is interrupted, terminated, or runs out of memory, what it has measured is added with `stopped_by`. If the
    process is killed, what `Result.save_partial` wrote is added by the next run.

    Args:
        name: of the benchmark.
        shape: what is measured on.
        args: options of `make_parser`: where the line goes, and whether it is printed.
        device: the device that is measured.
    """
    recover(name, args.results)
    result = Result({"benchmark": name, **shape, **record(device)}, args.results / f".{name}.{os.getpid()}.partial")
    before = set(result)
    try:
        with _signals_raise():
            yield result
    except BaseException as error:
        if any(result[key] for key in result.keys() - before):
            path = append_line({**result, "stopped_by": type(error).__name__}, name, args.results)
            print(f"\nstopped; what was measured until then was added to {path}", file=sys.stderr)
        result.partial.unlink(missing_ok=True)
        raise
    path = append_line(result, name, args.results)
    result.partial.unlink(missing_ok=True)
    if args.json:
        print(json.dumps(result))
    else:
        print(f"\nadded to {path}")


def record(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return commit, machine, versions and time, which every figure needs."""
    found = environment.describe(torch.device(device))
    found["cpu"] = _cpu_model()
    found["load_average"] = os.getloadavg()[0]
    # glibc's settings decide how fast code is that allocates large tensors in each step
    found["malloc"] = {key: value for key, value in os.environ.items() if key.startswith("MALLOC_") or key == "GLIBC_TUNABLES"}
    found["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return found


def append_line(result: Mapping[str, Any], name: str, folder: Path = RESULTS) -> Path:
    """Add one JSON line to `NAME.jsonl` in `folder` and return its path. The file is replaced in one step, never half written."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    before = path.read_bytes() if path.exists() else b""
    with replacing(path) as new:
        new.write_bytes(before + json.dumps(result).encode() + b"\n")
    return path


def recover(name: str, folder: Path) -> None:
    """Add to the results what killed runs had saved with `Result.save_partial`, and report it."""
    for partial in sorted(folder.glob(f".{name}.*.partial")):
        if not _is_running(int(partial.name.split(".")[-2])):
            path = append_line({**json.loads(partial.read_text(encoding="utf-8")), "stopped_by": "killed"}, name, folder)
            partial.unlink()
            print(f"an earlier run was killed; what it had measured was added to {path}", file=sys.stderr)


class Terminated(SystemExit):
    """The process was asked to end by SIGTERM, or by SIGHUP when its terminal closed. The code is 128 plus the signal's number."""


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise `Terminated`. A signal that is ignored (as under `nohup`) stays ignored."""

    def stop(number: int, _frame: object) -> None:
        raise Terminated(128 + number)

    changed: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__]
        changed = [number for number in wanted if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _is_running(process: int) -> bool:
    """Whether a process of this number exists. True where the system cannot be asked."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
