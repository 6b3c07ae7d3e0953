"""Draw the figures of the documentation: python docs/figures/draw.py [FOLDER]

The charts `drift` and `solves` are computed on this machine; their last digits differ between machines.
"""

from __future__ import annotations

import sys
from pathlib import Path

import charts
import diagrams

from revgnn.experiments.run_report.charts.svg import svg_file
from revgnn.files import write_text

FOLDER = Path(__file__).resolve().parent

FIXED = {
    "coupling": diagrams.coupling,
    "aggregation": diagrams.aggregation,
    "memory": lambda: svg_file(charts.memory()),
    "depth": lambda: svg_file(charts.depth()),
}
"""Figures that are the same on every machine."""

COMPUTED = {"drift": lambda: svg_file(charts.drift()), "solves": lambda: svg_file(charts.solves())}


def main(folder: Path = FOLDER) -> None:
    """Write all figures to a folder."""
    for name, draw in (FIXED | COMPUTED).items():
        write_text(folder / f"{name}.svg", draw())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
