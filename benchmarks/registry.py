"""The benchmarks by name. Each is a module with `main(argv) -> exit code`, imported when it is chosen."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Benchmark(NamedTuple):
    """Entry of a benchmark in the list."""

    module: str
    """Name below `benchmarks`."""
    about: str
    """One line for the list."""
    in_all: bool = True
    """Whether `all` runs it: not if it needs a GPU, or an option without a default."""


BENCHMARKS = {
    "kernels": Benchmark("kernels", "every aggregation kernel beside plain torch and the bounds of the machine"),
    "strategies": Benchmark("strategies", "cost of a gradient strategy and of an exact state"),
    "convolutions": Benchmark("convolutions", "single convolutions beside PyTorch Geometric's layers"),
    "step": Benchmark("step", "a training step beside PyTorch Geometric's"),
    "profile": Benchmark("profile", "where the time of a step goes, kernel by kernel, beside the bounds"),
    "compile": Benchmark("compiled_blocks", "blocks as they are and blocks under torch.compile, in one reversible stack"),
    "solvers": Benchmark("solvers", "how near each solver comes to an equilibrium"),
    "partition": Benchmark("partition", "cutting a graph into random parts"),
    "tables": Benchmark("tables", "reading a graph of one's own from csv or Parquet"),
    "memory": Benchmark("memory", "peak memory of a step beside PyTorch Geometric's, and of the paper's rows"),
    "students": Benchmark("students", "a shallow student beside its deep teacher: score and time (needs data)", in_all=False),
    "ablation": Benchmark("ablation", "what lets deep networks train, one change at a time (needs data)", in_all=False),
    "plan": Benchmark("plan", "memory and seconds that `revgnn plan` says, beside measured ones"),
    "depth": Benchmark("depth.command", "seconds a layer and peak memory against depth and groups, as data and plots"),
    "full-batch": Benchmark("full_batch", "one step on the whole of ogbn-proteins' shape, layer by layer"),
    "ranks": Benchmark("ranks.command", "several processes beside one: parts of a step, a graph, layers or weights over them"),
    "spread": Benchmark("spread.command", "what `revgnn plan --ranks` says, beside processes that run"),
    "projections": Benchmark("projections.command", "the largest graphs on many GPUs, on paper: docs/projections.md", in_all=False),
    "versions": Benchmark("versions.command", "sources of another checkout beside these, in turns (needs --old)", in_all=False),
    "report": Benchmark("report.command", "the page of all committed results, docs/performance.md", in_all=False),
    "studies": Benchmark("report.studies", "the page of all committed depth studies, docs/studies.md", in_all=False),
    "gpu": Benchmark("gpu", "checks and figures of a machine with a GPU", in_all=False),
}
"""In the order of the list and of `all`: the longest come last."""


def names_of_all() -> list[str]:
    """Return the names of the benchmarks that `all` runs, in order."""
    return [name for name, entry in BENCHMARKS.items() if entry.in_all]


def main_of(name: str) -> Callable[[Sequence[str] | None], int]:
    """Return the function that runs a benchmark with the words of a command line and returns its exit code.

    Raises:
        ValueError: if there is no benchmark of that name.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"there is no benchmark {name!r}; choose one of {', '.join([*BENCHMARKS, 'all'])}.")
    return importlib.import_module(f"benchmarks.{BENCHMARKS[name].module}").main
