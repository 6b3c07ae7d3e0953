"""How threads wait for one another, chosen when a command starts, before torch is imported.

After each kernel the threads of OpenMP wait for the last one. By default they wait in a loop, which is fastest if each has a core
of its own. On a busy machine they loop on cores that the others need, and an epoch takes several times as long. There they should
sleep: `OMP_WAIT_POLICY=PASSIVE`. It does not change results, unlike another number of threads. OpenMP reads it once, when it is
loaded.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import typer

_CHOSEN_BY_USER = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_SAMPLE_SECONDS = 0.1
_PROC_STAT = Path("/proc/stat")
_CGROUP = Path("/sys/fs/cgroup")


def choose_waiting() -> None:
    """Let threads sleep while they wait if the machine is busy, and say so in one line on stderr.

    Nothing is changed if the user has set a variable of OpenMP, or if torch is imported already. The machine is watched for a tenth
    of a second.
    """
    if "torch" in sys.modules or any(name in os.environ for name in _CHOSEN_BY_USER):
        return
    reason = _reason()
    if reason is not None:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        typer.echo(f"{reason}: waiting threads sleep (OMP_WAIT_POLICY=PASSIVE); set OMP_WAIT_POLICY to choose yourself.", err=True)


def _reason() -> str | None:
    """Return why threads should sleep while they wait; None if each has a core of its own, or if the system does not tell."""
    cores = _own_cores()
    limit = _core_limit()
    if limit is not None and limit < len(cores):
        return f"this process may use {limit:.3g} of {len(cores)} cores"
    used = _used_by_others(cores)
    # With many cores, a few that are taken do not slow down the others.
    if len(cores) > 1 and used >= max(0.5, len(cores) / 8):
        return f"other processes use {used:.1f} of {len(cores)} cores"
    return None


def _own_cores() -> set[int]:
    """Return the numbers of the cores that this process may run on; empty where the system does not tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _used_by_others(cores: set[int]) -> float:
    """Return how many of the cores are in use while this process sleeps; 0 if the system does not tell."""
    before = _read_times(cores)
    time.sleep(_SAMPLE_SECONDS)
    after = _read_times(cores)
    used = 0.0
    for core in before.keys() & after.keys():
        busy, total = (now - then for now, then in zip(after[core], before[core], strict=True))
        used += busy / total if total > 0 else 0.0
    return used


def _read_times(cores: set[int]) -> dict[int, tuple[int, int]]:
    """Return the busy and the total time of each core so far, in ticks, from /proc/stat."""
    try:
        lines = _PROC_STAT.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    times = {}
    for line in lines:
        name, _, rest = line.partition(" ")
        number = name.removeprefix("cpu")
        ticks = [int(word) for word in rest.split()[:8] if word.isdecimal()]
        if name.startswith("cpu") and number.isdecimal() and int(number) in cores and len(ticks) == 8:
            user, nice, system, idle, iowait, *others = ticks  # then irq, softirq, stolen by other machines
            busy = user + nice + system + sum(others)
            times[int(number)] = (busy, busy + idle + iowait)
    return times


def _core_limit() -> float | None:
    """Return how many cores' time the control group may use, as containers set it; None without a limit."""
    words = _words(_CGROUP / "cpu.max") or [
        *_words(_CGROUP / "cpu" / "cpu.cfs_quota_us"),
        *_words(_CGROUP / "cpu" / "cpu.cfs_period_us"),
    ]
    if len(words) != 2 or not all(word.isdecimal() for word in words):  # the quota is "max" or -1 without a limit
        return None
    quota, period = map(int, words)
    return quota / period if period > 0 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []
