"""What every benchmark needs: options, fair timing, a record of the machine, results that survive an interruption, and a table."""

from benchmarks.harness.options import make_parser, parse
from benchmarks.harness.progress_bar import Tick, progress
from benchmarks.harness.results import FIGURES, RESULTS, Result, append_line, recover, result_line
from benchmarks.harness.tables import megabytes, table
from benchmarks.harness.timing import Spread, available_bytes, checks_pass, interleaved, peak_memory, ratios, synchronize

__all__ = [
    "FIGURES",
    "RESULTS",
    "Result",
    "Spread",
    "Tick",
    "append_line",
    "available_bytes",
    "checks_pass",
    "interleaved",
    "make_parser",
    "megabytes",
    "parse",
    "peak_memory",
    "progress",
    "ratios",
    "recover",
    "result_line",
    "synchronize",
    "table",
]
