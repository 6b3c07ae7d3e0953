"""The command-line options that all benchmarks share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.results import RESULTS


def make_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m benchmarks NAME` with the options that all benchmarks have.

    Args:
        name: the benchmark.
        doc: docstring of its module; the first paragraph describes the command.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=" ".join((doc or "").split("\n\n")[0].split()),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON line and nothing else")
    parser.add_argument(
        "--quick", action="store_true", help="tiny shapes, a few seconds: shows that it works; figures mean nothing"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="folder whose NAME.jsonl gets the result as one more line; with --quick, its subfolder quick",
    )
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None, quick: Mapping[str, Any]) -> argparse.Namespace:
    """Return the parsed options. With --quick the defaults come from `quick`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--quick" in words:
        parser.set_defaults(**quick)
    args = parser.parse_args(words)
    if args.quick:
        args.results = args.results / "quick"
    return args
