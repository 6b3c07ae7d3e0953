"""Which process is to blame when processes cannot go on together.

Each process tells the store of the job who it is, how many exchanges it has begun, and why it ended if it can. If an exchange fails
or takes longer than the timeout, the others look there.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]


class RankFailed(ConnectionError):
    """Another process of the job has failed, died or hangs, so that this one cannot go on.

    Attributes:
        is_told: the failing process has printed its own error.
    """

    def __init__(self, message: str, *, is_told: bool = False) -> None:
        super().__init__(message)
        self.is_told = is_told


class RanksDiffer(RuntimeError):
    """Processes that should hold the same weights do not."""


class Watch:
    """What one process tells the others about itself, and what it finds of them.

    Args:
        store: of the job; it must outlive the processes, as that of torchrun's agent does.
        seconds: how long an exchange may take.
    """

    def __init__(self, store: Store, rank: int, size: int, seconds: float) -> None:
        self._store, self._rank, self._size, self._seconds = store, rank, size, seconds
        self._begun = 0
        store.set(f"revgnn/who/{rank}", json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))

    def begin(self) -> None:
        """Note that this process begins its next exchange."""
        self._begun += 1
        self._store.set(f"revgnn/begun/{self._rank}", str(self._begun))

    def note_failure(self, error: BaseException) -> None:
        """Tell the others why this process ends."""
        cause = error.__context__ if isinstance(error, SystemExit) else error
        if isinstance(cause, RankFailed):
            kind, text = "lost", str(cause)
        elif isinstance(cause, Exception | KeyboardInterrupt):
            kind, text = "failed", " ".join(str(cause).split()) or type(cause).__name__
        else:
            return
        try:
            self._store.set(f"revgnn/{kind}/{self._rank}", text[:2000])
        except (RuntimeError, OSError):  # the store is gone, and with it the job
            return

    def blame(self, error: BaseException) -> RankFailed:
        """Return an error that names the process to blame for a failed exchange."""
        try:
            return self._blame(error)
        except (RuntimeError, OSError):
            return RankFailed(f"the other processes of the job are gone; {_ADVICE} ({_first_line(error)})")

    def _blame(self, error: BaseException) -> RankFailed:
        others = [rank for rank in range(self._size) if rank != self._rank]
        for rank in others:
            if (text := self._read(f"failed/{rank}")) is not None:
                return RankFailed(f"process {rank} has failed: {text}", is_told=True)
        # those that ended since they had lost another one are not to blame
        lost = {rank: text for rank in others if (text := self._read(f"lost/{rank}")) is not None}
        suspects = [rank for rank in others if rank not in lost]
        for rank in suspects:
            if not self._is_alive(rank):
                return RankFailed(f"process {rank}{self._who(rank)} has died; {_ADVICE}")
        behind = [rank for rank in suspects if int(self._read(f"begun/{rank}") or 0) < self._begun]
        if behind and not lost:
            names = ", ".join(f"{rank}{self._who(rank)}" for rank in behind)
            return RankFailed(f"process {names} did not answer within {self._seconds:g} s: it hangs or has died; {_ADVICE}")
        if lost:
            return RankFailed(next(iter(lost.values())))
        return RankFailed(f"the processes lost one another: {_first_line(error)}; {_ADVICE}")

    def _read(self, key: str) -> str | None:
        key = f"revgnn/{key}"
        return self._store.get(key).decode() if self._store.check([key]) else None

    def _who(self, rank: int) -> str:
        known = self._about(rank)
        return "" if known is None else f" (pid {known['pid']} on {known['host']})"

    def _about(self, rank: int) -> dict[str, Any] | None:
        text = self._read(f"who/{rank}")
        return None if text is None else json.loads(text)

    def _is_alive(self, rank: int) -> bool:
        """Return False for a process of this machine that is known to have ended."""
        known = self._about(rank)
        if known is None or known["host"] != socket.gethostname():
            return True
        try:
            state = Path(f"/proc/{known['pid']}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return not Path("/proc/self").exists()
        return state not in ("Z", "X")


_ADVICE = "nothing is half written, and the run goes on with --resume"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
