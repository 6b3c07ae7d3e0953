"""Reading a graph of one's own from two csv files: seconds and peak memory, each in a process of its own.

    python -m benchmarks tables
    python -m benchmarks tables --nodes 100000 --edges 1000000 --format parquet

A graph is generated and written: nodes with an id of text, a number, a category, a date and a label; edges with two ids and a
number. First the graph that is read is compared with the one that was written; otherwise nothing is timed. Then a new process reads
it with `revgnn.data.load`: that includes finding out what each column is, encodings, splits and building the index of the graph, in
both directions. Its import of torch and pyarrow is not counted in the seconds, but in the memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from benchmarks import harness
from revgnn.data import load

QUICK = {"nodes": 500, "edges": 4_000, "repeats": 2}
LIMIT_SECONDS, LIMIT_BYTES = 30.0, 4e9
"""What 10 million edges may take on 2 cores."""

_READ = """
import resource, sys, time
from revgnn.data import load
import pyarrow, pyarrow.csv, pyarrow.json, pyarrow.parquet
start, cpu = time.perf_counter(), time.process_time()
data = load(sys.argv[1])
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, data.num_nodes, data.graph.num_edges)
"""


def write_tables(folder: Path, nodes: int, edges: int, kind: str) -> np.ndarray:
    """Write a graph as two tables, and return its edges, int64 (2, E)."""
    rng = np.random.default_rng(0)
    ends = rng.integers(0, nodes, (2, edges))
    ids = pa.array([f"n{number:x}" for number in rng.permutation(nodes).tolist()])
    cities = pa.array([f"city {number}" for number in range(50)])
    days = (np.datetime64("2015-01-01") + rng.integers(0, 3650, nodes)).astype(str)
    node_table = pa.table(
        {
            "id": ids,
            "age": rng.normal(40, 10, nodes).round(1),
            "city": cities.take(pa.array(rng.integers(0, 50, nodes))),
            "joined": pa.array(days),
            "label": pa.array(["a", "b", "c"]).take(pa.array(rng.integers(0, 3, nodes))),
        }
    )
    columns = {"source": ids.take(pa.array(ends[0])), "target": ids.take(pa.array(ends[1])), "amount": rng.random(edges).round(3)}
    for name, table in (("nodes", node_table), ("edges", pa.table(columns))):
        if kind == "parquet":
            pa_parquet.write_table(table, folder / f"{name}.parquet")
        else:
            pa_csv.write_csv(table, folder / f"{name}.csv")
    return ends


def check_graph(folder: Path, ends: np.ndarray, nodes: int) -> None:
    """Check that the tables are read to the graph that was written.

    Raises:
        AssertionError: if they are not.
    """
    graph = load(str(folder)).graph
    both = np.concatenate([ends, ends[::-1]], axis=1)
    expected = np.unique(both[1] * nodes + both[0])  # by destination, each pair once
    found = graph.edge_index.numpy()
    if not np.array_equal(found[1].astype(np.int64) * nodes + found[0], expected):
        raise AssertionError("the graph that is read has other edges than the one that was written")


def read_once(folder: Path) -> tuple[float, float, int]:
    """Return the seconds that a new process takes to read the tables, those of the processor, and its peak of resident memory in
    bytes."""
    words = [sys.executable, "-c", _READ, str(folder)]
    seconds, cpu, peak, *_ = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(cpu), int(peak)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("tables", __doc__)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--format", choices=["csv", "parquet"], default="csv")
    parser.add_argument("--repeats", type=int, default=3)
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ends = write_tables(folder, args.nodes, args.edges, args.format)
        if not harness.checks_pass(lambda: check_graph(folder, ends, args.nodes)):
            return 1
        shape = {key: getattr(args, key) for key in ("nodes", "edges", "format", "repeats")}
        with harness.result_line("tables", shape, args) as result:
            result["file_bytes"] = sum(path.stat().st_size for path in folder.iterdir())
            result |= {"seconds": [], "cpu_seconds": [], "peak_bytes": [], "load_averages": []}
            for _ in range(args.repeats):
                result["load_averages"].append(os.getloadavg()[0])
                seconds, cpu_seconds, peak = read_once(folder)
                result["cpu_seconds"].append(cpu_seconds)
                result["seconds"].append(seconds)
                result["peak_bytes"].append(peak)
            if not args.json:
                print(show(result))
    return 0


def show(result: Mapping[str, Any]) -> str:
    """Return the figures in lines."""
    loads = ", ".join(f"{load:.1f}" for load in result["load_averages"])
    lines = [
        f"{result['nodes']:,} nodes and {result['edges']:,} edges as {result['format']}, {result['file_bytes'] / 1e6:.0f} MB; "
        f"read {result['repeats']} times",
        f"{result['cpu']}, {result['threads']} threads, commit {result['commit']}; load average before each: {loads}",
        f"seconds: {harness.Spread.of(result['seconds']).text()} (may take {LIMIT_SECONDS:.0f} for 10 million edges)",
        f"seconds of the processor, all cores together: {harness.Spread.of(result['cpu_seconds']).text()}",
        f"peak of resident memory: {max(result['peak_bytes']) / 1e9:.2f} GB (may take {LIMIT_BYTES / 1e9:.0f} GB)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
