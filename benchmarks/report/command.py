"""Print the page of all committed results, docs/performance.md, as Markdown.

python -m benchmarks report > docs/performance.md
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness import RESULTS
from benchmarks.report import networks, parts
from benchmarks.report.records import filled

SECTIONS: tuple[Callable[[Path], list[str]], ...] = (
    networks.step,
    networks.depth,
    networks.groups,
    networks.strategies,
    networks.profile,
    parts.kernels,
    parts.convolutions,
    parts.partition,
    networks.full_batch,
    networks.compiled,
    parts.solvers,
    parts.tables,
    parts.plan,
    parts.plan_of_several,
    parts.students,
)

INTRODUCTION = """\
Every figure here comes from a line of `benchmarks/results/`, written by the benchmark that the section names by its
title; `python -m benchmarks` lists them. `python -m benchmarks report` made this page. Each figure is a median, with
the 10th and 90th percentile of ten rounds or more in brackets, with the extremes of fewer. What is compared took turns
in one run. A benchmark first checks that its results are right, and prints no figure if they are not.
[benchmarks.md](benchmarks.md) says what the figures mean; those of a GPU are in [gpu.md](gpu.md)."""


def page(folder: Path = RESULTS) -> str:
    """Return the page.

    Raises:
        ValueError: if a file of results is missing or damaged.
    """
    blocks = ["# Performance", INTRODUCTION]
    for section in SECTIONS:
        blocks += section(folder)
    return filled(blocks)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    print(page(parser.parse_args(argv).results), end="")
    return 0
