"""The benchmarks by name. Each is a module with `main(argv) -> exit code`, imported when it is chosen."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Benchmark(NamedTuple):
    module: str
    about: str


BENCHMARKS = {
    "kernels": Benchmark("kernels", "every aggregation kernel beside plain torch and the bounds of the machine"),
    "strategies": Benchmark("strategies", "what a gradient strategy and an exact state cost"),
    "step": Benchmark("step", "a training step beside PyTorch Geometric's"),
    "profile": Benchmark("profile", "where the time of a step goes, kernel by kernel, beside the bounds"),
    "compile": Benchmark("compiled", "blocks as they are and blocks under torch.compile, in one reversible stack"),
    "solvers": Benchmark("solvers", "how near each solver comes to an equilibrium"),
    "partition": Benchmark("partition", "cutting a graph into random parts"),
    "memory": Benchmark("memory", "peak memory of a step beside PyTorch Geometric's, and of the paper's rows"),
    "depth": Benchmark("depth", "seconds a layer and peak memory against depth and groups, as data and plots"),
    "full-batch": Benchmark("full_batch", "one step on the whole of ogbn-proteins' shape, layer by layer"),
}
"""In the order of `all`: what takes longest comes last."""


def available() -> list[str]:
    """Names of the benchmarks that this installation has."""
    return [name for name, entry in BENCHMARKS.items() if importlib.util.find_spec(f"benchmarks.{entry.module}")]


def main_of(name: str) -> Callable[[Sequence[str] | None], int]:
    """
    Raises:
        ValueError: if there is no benchmark of that name.
    """
    if name not in available():
        raise ValueError(f"there is no benchmark {name!r}; choose one of {', '.join([*available(), 'all'])}.")
    return importlib.import_module(f"benchmarks.{BENCHMARKS[name].module}").main
