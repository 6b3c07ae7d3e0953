"""A process that runs cases: one that crashes or hangs ends this process, and not the test run.

The process is forked from a server that has imported the packages that take long to import. It runs case after case. When it ends,
a new one takes its place.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hypothesis import assume
from hypothesis.errors import UnsatisfiedAssumption

SECONDS = 120
"""A case that takes longer hangs. The first one of a kind may have to compile kernels."""
MEMORY = 8 << 30
"""Bytes that a worker may allocate, on Linux: a size read from a damaged file must not fill the machine."""
PRELOADED = [
    "numba",
    "scipy.sparse",
    "sklearn.metrics",
    "torch",
    "torch_geometric.data",
    "hypothesis",
    "pydantic",
    "safetensors.torch",
]
"""What the server imports: all but our own package, whose kernels run on one thread in a process forked after its import."""
STACK = "stack.txt"
"""File that a crashing process writes its stack to."""


class Worker:
    """Runs the bodies of laws in a process of its own."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._process: Any = None
        self._connection: Connection | None = None

    def run(self, module: str, name: str, arguments: dict[str, Any]) -> None:
        """Call the body of a law.

        Raises:
            AssertionError: if it raised anything, crashed or hung.
            UnsatisfiedAssumption: if the case does not belong to the law (`hypothesis.assume`).
        """
        case = pickle.dumps((module, name, arguments))
        outcome, text = self._ask(case)
        if outcome == "crashed":
            # An earlier case may have caused it: try this one alone.
            again, _ = self._ask(case)
            blame = "this case alone" if again == "crashed" else "this case or an earlier one: alone it does not crash"
            raise AssertionError(f"the process crashed with {blame}: {name}({_shown(arguments)})\n{text}")
        if outcome == "rejected":
            assume(False)
        if outcome != "passed":
            raise AssertionError(f"{text}\nwith {name}({_shown(arguments)})")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._connection is not None
            self._connection.close()
            self._process.kill()
            self._process.join()
            self._process = None

    def _ask(self, case: bytes) -> tuple[str, str]:
        if self._process is None:
            self.start()
        assert self._connection is not None
        try:
            self._connection.send_bytes(case)
            if not self._connection.poll(SECONDS):
                self.close()
                return "hung", f"no result within {SECONDS} seconds"
            return pickle.loads(self._connection.recv_bytes())  # noqa: S301  (our own worker's)
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self.close()
            stack = (self._scratch / STACK).read_text().split("\n\n")[1:2]
            return "crashed", "\n".join([signal.Signals(-code).name if code < 0 else f"exit code {code}", *stack])

    def start(self) -> None:
        """Start the process, and the server with the first one."""
        shutil.rmtree(self._scratch, ignore_errors=True)  # what a process that crashed has left
        self._scratch.mkdir()
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=serve, args=(theirs, str(self._scratch)), daemon=True)
        self._process.start()
        theirs.close()


def serve(connection: Connection, scratch: str) -> None:
    """Run cases until the connection closes. The worker's main function."""
    tempfile.tempdir = scratch
    stack = open(Path(scratch) / STACK, "w")  # noqa: SIM115  (open until the process ends)
    faulthandler.enable(stack)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    while True:
        try:
            module, name, arguments = pickle.loads(connection.recv_bytes())  # noqa: S301  (from the test itself)
        except EOFError:
            return
        connection.send_bytes(pickle.dumps(_outcome(module, name, arguments)))


def _outcome(module: str, name: str, arguments: dict[str, Any]) -> tuple[str, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(importlib.import_module(module), name).body(**arguments)
    except UnsatisfiedAssumption:
        return "rejected", ""
    except AssertionError as error:
        return "failed", str(error) or traceback.format_exc()
    except BaseException:  # a law fails by whatever its body raises
        return "failed", traceback.format_exc(limit=-6)
    return "passed", ""


def _shown(arguments: dict[str, Any]) -> str:
    text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return text if len(text) < 4000 else f"{text[:4000]} ... ({len(text)} characters)"
