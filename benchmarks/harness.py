"""What every benchmark needs: options, turns taken fairly, memory, a record of the machine, results that outlive an interruption,
and a table."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from revgnn.testing import peak_bytes
from revgnn.train.run import environment
from revgnn.train.run.files import replacing


def results_folder() -> Path:
    """`benchmarks/results` of the checkout this package comes from; outside a checkout, `revgnn-bench` in the current folder."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    # An installed package may lie inside some other repository, whose folder is not ours to fill.
    if package == checkout / "src" / "revgnn" and (checkout / "pyproject.toml").exists():
        return checkout / "benchmarks" / "results"
    return Path.cwd() / "revgnn-bench"


def figures_folder() -> Path:
    """`docs/figures` of the checkout this package comes from; outside a checkout, with the results."""
    results = results_folder()
    return results.parents[1] / "docs" / "figures" if results.parts[-2:] == ("benchmarks", "results") else results


def make_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """A parser for `revgnn bench NAME` with the options that all benchmarks have; `doc` is what the module says of itself."""
    parser = argparse.ArgumentParser(
        prog=f"revgnn bench {name}",
        description=" ".join((doc or "").split("\n\n")[0].split()),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON line and nothing else")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, seconds: to see that it works, not to quote")
    parser.add_argument(
        "--results",
        type=Path,
        default=results_folder(),
        help="folder that JSON lines are added to; those of --quick to quick/ inside",
    )
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None, quick: Mapping[str, Any]) -> argparse.Namespace:
    """The options; with --quick, `quick` has the defaults."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--quick" in words:
        parser.set_defaults(**quick)
    args = parser.parse_args(words)
    if args.quick:
        args.results = args.results / "quick"
    return args


def all_right(*checks: Callable[[], object]) -> bool:
    """Run checks, which raise `AssertionError` at a wrong result. If one does, say so on stderr: nothing may then be timed."""
    for check in checks:
        try:
            check()
        except AssertionError as error:
            print(f"no figures, because the results are wrong: {error}", file=sys.stderr)
            return False
    return True


class Spread(NamedTuple):
    """Median and range of repeated measurements: the 10th and 90th percentile from ten measurements on, else the extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 10:
            return cls(statistics.median(values), min(values), max(values))
        tenths = statistics.quantiles(values, n=10)
        return cls(statistics.median(values), tenths[0], tenths[-1])

    def text(self, digits: int = 3) -> str:
        return f"{self.median:.{digits}g} ({self.low:.{digits}g} to {self.high:.{digits}g})"


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device | None = None,
    *,
    into: dict[str, list[float]] | None = None,
    tick: Callable[[str], None] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each call, `repeats` for each contestant.

    In every round each is called once, and the order turns from round to round: whatever else slows the machine for a while
    meets all alike, and no one always runs in the caches that the same neighbour left. Warm up before.

    Args:
        into: where to put them as they come, for a result that is kept if the rest is not measured.
        tick: told the name of each contestant after its turn.
    """
    names = list(contestants)
    seconds = {} if into is None else into
    seconds.update({name: [] for name in names})
    for n in range(repeats):
        for name in names[n % len(names) :] + names[: n % len(names)]:
            _wait(device)
            start = time.perf_counter()
            contestants[name]()
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
            if tick is not None:
                tick(name)
    return seconds


def ratios(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times faster: the ratio within each round, then its spread."""
    return Spread.of([s / f for s, f in zip(slow, fast, strict=True)])


def memory(contestants: Mapping[str, Callable[[], object]], device: torch.device | str = "cpu") -> dict[str, int]:
    """Peak of live tensor bytes of one call each, above those alive before it. Not timed; also serves as the warm-up."""
    return {name: peak_bytes(work, device) for name, work in contestants.items()}


def record(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Commit, machine, versions and time: what a figure means nothing without."""
    found = environment.describe(torch.device(device))
    found["cpu"] = _cpu_model()
    found["load_average"] = os.getloadavg()[0]
    # how glibc hands out memory decides how long code takes that asks for large pieces anew in each step
    found["malloc"] = {key: value for key, value in os.environ.items() if key.startswith("MALLOC_") or key == "GLIBC_TUNABLES"}
    found["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return found


class Result(dict[str, Any]):
    """What a benchmark has found so far."""

    def __init__(self, values: Mapping[str, Any], partial: Path) -> None:
        super().__init__(values)
        self.partial = partial

    def keep(self) -> None:
        """Put it on disk as it is now: whatever ends the process, without a word even, the next run adds it to the results."""
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.partial) as new:
            new.write_text(json.dumps(self), encoding="utf-8")


class Terminated(SystemExit):
    """Somebody asked the process to end: SIGTERM, or SIGHUP of a terminal that was closed. Its code is what shells expect."""


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Inside, what would kill the process raises `Terminated`; what is ignored (under `nohup`, say) stays so."""

    def stop(number: int, _frame: object) -> None:
        raise Terminated(128 + number)

    changed: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        changed = [number for number in wanted if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def rescue(name: str, folder: Path) -> None:
    """Add what runs that were killed had kept (`Result.keep`) to the results, and say so."""
    for left in sorted(folder.glob(f".{name}.*.partial")):
        if not _runs(int(left.name.split(".")[-2])):
            path = append_line({**json.loads(left.read_text(encoding="utf-8")), "stopped_by": "killed"}, name, folder)
            left.unlink()
            print(f"an earlier run was killed; what it had measured was added to {path}", file=sys.stderr)


def _runs(process: int) -> bool:
    """Whether there is a process of this number; where that cannot be asked, it is believed."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def result_line(name: str, shape: Mapping[str, Any], args: argparse.Namespace) -> Iterator[Result]:
    """A result that grows while things are measured, and becomes one JSON line of `name.jsonl` at the end.

    What there is when it is interrupted, told to end, or runs out of memory, is kept too, with `stopped_by`; and what `keep` was
    called for even if the process is killed.

    Args:
        name: of the benchmark.
        shape: what is measured on.
        args: of `make_parser`: where the line goes, and whether it is printed.
    """
    rescue(name, args.results)
    result = Result({"benchmark": name, **shape, **record()}, args.results / f".{name}.{os.getpid()}.partial")
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


def append_line(result: Mapping[str, Any], name: str, folder: Path | None = None) -> Path:
    """Add one JSON line to `name.jsonl` in a folder, by default `results_folder()`; a reader never sees half a line."""
    folder = results_folder() if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    before = path.read_bytes() if path.exists() else b""
    with replacing(path) as new:
        new.write_bytes(before + json.dumps(result).encode() + b"\n")
    return path


@contextmanager
def progress(title: str, total: float, *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """What is under way, on stderr: a bar with the time left in a terminal, a line every ten seconds elsewhere.

    Yields:
        `tick(note, by=1)`: call it after each piece of work, of `total` in all. `by=0` announces what begins: it is said at once.
    """
    if quiet:
        yield lambda note="", by=1: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn(title), BarColumn(24), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total, note="")
            yield lambda note="", by=1: bar.update(task, advance=by, note=note)
    else:
        began = last = time.monotonic()
        done = 0.0

        def tick(note: str = "", by: float = 1) -> None:
            nonlocal done, last
            done += by
            now = time.monotonic()
            if (now - last >= 10 and done) or not by:
                last = now
                left = f", left {(now - began) / done * (total - done):.0f} s" if done else ""
                print(f"{title}: {100 * done / total:.0f} %, {now - began:.0f} s{left}  {note}", file=sys.stderr)

        yield tick


def available_bytes() -> int | None:
    """Memory that can still be had on this machine, or None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, aligned, so that it can be read here and pasted into the documentation."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
