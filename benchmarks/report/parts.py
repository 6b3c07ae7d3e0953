"""Sections on parts of a network and on what is around it: kernels, convolutions, solvers, data, plans."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.report.records import Record, last_of_each, megabytes, number, origin, read, shape, spread, table


def kernels(folder: Path) -> list[str]:
    """Return the section on the aggregation kernels: of each kernel the last measurement."""
    records = [r for r in read("kernels", folder) if "channels" in r["kernels"][0]]
    grid = [r for r in records if any(k["how"] == "max" for k in r["kernels"])][-1]
    others = [r for r in records if all(k["how"] != "max" for k in r["kernels"])][-1]
    blocks = [
        "## Kernels",
        "The aggregation operator with gradients wanted, Python and allocation included. The last column sets it "
        "beside the largest of three bounds, "
        "operations, bytes and the gathering of rows, at rates measured in the same run.",
    ]
    for r in (grid, others):
        rows = [
            [k["how"], k["direction"], k["channels"], k["edge_features"], spread(k["milliseconds"]), _times(k)]
            for k in sorted(r["kernels"], key=lambda k: (k["how"], k["direction"] != "forward", k["edge_features"], k["channels"]))
        ]
        rates = f"{r['multiply_adds_a_second'] / 1e9:.0f} billion multiply-adds and {r['bytes_a_second'] / 1e9:.1f} GB a second"
        head = ["how", "direction", "channels", "edge features", "ms", "times the bound"]
        blocks += [f"{shape(r)}, {r['dtype']}; {rates}.", table(head, rows), origin(r)]
    return blocks


def _times(kernel: Record) -> str:
    bound = max(kernel["bounds_milliseconds"].values())
    return f"{kernel['milliseconds']['median'] / bound:.1f}"


def _layers_of(r: Record) -> tuple[int, ...]:
    return r["nodes"], r["in_channels"], r["out_channels"], r.get("classes", 0)


def convolutions(folder: Path) -> list[str]:
    """Return the section on single convolutions beside PyTorch Geometric's."""
    blocks = [
        "## Convolutions",
        "One forward and one backward pass in turns, milliseconds, ours with a `Graph`. Products are those of states "
        "and weights alone, "
        "which both libraries need.",
    ]
    for r in last_of_each(read("convolutions", folder), _layers_of):
        rows = []
        for name, seconds in r["seconds"].items():
            ratios = [peer / ours for peer, ours in zip(seconds["PyTorch Geometric"], seconds["Graph"], strict=True)]
            cells = [spread(seconds[kind], 1e3) for kind in ("PyTorch Geometric", "Graph", "edge_index", "products")]
            rows.append([f"`{name}`", *cells, number(statistics.median(ratios))])
        second = f" to {r['classes']}" if r.get("classes") else ""
        title = f"### {r['in_channels']:,} to {r['out_channels']}{second} channels, {shape(r)}"
        head = ["layer", "PyTorch Geometric", "revgnn, `Graph`", "revgnn, `edge_index`", "products", "faster by"]
        once = ", ".join(f"{name} {spread(seconds, 1e3)} ms" for name, seconds in r["once"].items())
        blocks += [title, f"{r['repeats']} rounds. Once for each graph: {once}.", table(head, rows), origin(r)]
    return blocks


def solvers(folder: Path) -> list[str]:
    """Return the section on equilibrium solvers."""
    blocks = [
        "## Equilibrium solvers",
        "Relative residual of the paper's block after a number of evaluations: median (largest) over initialisations, "
        "beside torchdeq's "
        "solvers on the whole graph as one vector.",
    ]
    for r in last_of_each(read("solvers", folder), lambda r: (r["edge_features"], r["random_start"])):
        hows = list(next(iter(r["residuals"].values())))
        rows = [
            [name, *(f"{statistics.median(found[how]):.1e} ({max(found[how]):.0e})" for how in hows)]
            for name, found in r["residuals"].items()
        ]
        start = "from a random state" if r["random_start"] else "from 0"
        title = f"### {r['edge_features']} edge features, {start}"
        text = f"{shape(r)}, {r['channels']} channels, {r['steps']} evaluations, {r['dtype']}."
        blocks += [title, text, table(["solver", *hows], rows), origin(r)]
    return blocks


def partition(folder: Path) -> list[str]:
    """Return the section on cutting a graph into random parts."""
    r = read("partition", folder)[-1]
    rows = [
        [name, spread(seconds), megabytes(r["peak_bytes"][name]), spread(r["speed_up"]) if name != "revgnn" else ""]
        for name, seconds in r["seconds"].items()
    ]
    beside = r["overlap"]
    text = (
        f"All {r['parts']} random parts of a graph, cut anew in each epoch; {shape(r)}, {r['features']} features. The bound is "
        f"{r['bound_seconds']:.3f} s: {r['moved_bytes'] / 1e9:.2f} GB must be moved. A training step takes "
        f"{spread(beside['alone'])} s "
        f"alone and {spread(beside['beside'])} s while another thread makes the next part."
    )
    return ["## Partition", text, table(["", "seconds an epoch", "peak", "revgnn is faster by"], rows), origin(r)]


def tables(folder: Path) -> list[str]:
    """Return the section on reading tables."""
    blocks = ["## Reading tables", "A graph of one's own, from two tables to a data set."]
    for r in last_of_each(read("tables", folder), lambda r: (r["nodes"], r["edges"], r["format"])):
        row = [r["format"], megabytes(r["file_bytes"]), spread(r["seconds"]), megabytes(max(r["peak_bytes"]))]
        head = ["format", "files", "seconds", "peak of the process"]
        blocks += [f"{shape(r)}, {r['repeats']} rounds.", table(head, [row]), origin(r)]
    return blocks


def plan(folder: Path) -> list[str]:
    """Return the section on `revgnn plan` beside measurements."""
    r = read("plan", folder)[-1]
    rows = []
    for name, n in r["networks"].items():
        off, off_later = (100 * (n[f"planned_{what}bytes"] / n[f"measured_{what}bytes"] - 1) for what in ("", "evaluation_"))
        planned, measured = n.get("planned_seconds"), n.get("measured_seconds")
        seconds = f"{number(planned)}, {spread(measured)}" if planned is not None and measured else ""
        rows.append([name, megabytes(n["measured_bytes"]), f"{off:+.1f} %", f"{off_later:+.1f} %", seconds])
    text = (
        f"What `revgnn plan` says beside what is measured: {len(rows)} networks on {shape(r)}. Memory is off by at most "
        f"{100 * r['worst_memory_error']:.1f} %; seconds by at most {100 * r['worst_seconds_error']:.0f} %, half of "
        "them by less than "
        f"{100 * r['median_seconds_error']:.0f} %."
    )
    head = ["network", "measured peak", "plan of a step", "plan of an evaluation", "seconds a step: planned, measured"]
    return ["## Plans", text, table(head, rows), origin(r)]


def plan_of_several(folder: Path) -> list[str]:
    """Return the section on `revgnn plan --ranks` beside jobs that ran."""
    records = read("spread", folder)
    last = {mode: [r for r in records if mode in r][-1] for mode in ("parts", "graph", "layers", "weights")}
    rows, worst = [], {"": 0.0, "sent_": 0.0}
    for mode, r in last.items():
        for ranks, n in r[mode].items():
            cells = []
            for what in worst:
                planned, measured = n[f"planned_{what}bytes"], n[f"measured_{what}bytes"]
                off = 100 * (planned / measured - 1) if measured else 0.0
                worst[what] = max(worst[what], abs(off))
                cells += [megabytes(measured) if measured else "none", f"{off:+.1f} %" if measured else ""]
            rows.append([mode, ranks, *cells])
    text = (
        "What `revgnn plan --ranks` says beside jobs that ran: of the process that needs, or sends, most. Bytes are those that "
        f"the kernel of Linux counts on its connections. Memory is off by at most {worst['']:.1f} %, bytes by at most "
        f"{worst['sent_']:.1f} %."
    )
    head = ["spread", "processes", "measured peak", "plan", "sent a step, measured", "plan"]
    origins = dict.fromkeys(origin(r) for r in last.values())
    return ["### Plans of several processes", text, table(head, rows), *origins]


def students(folder: Path) -> list[str]:
    """Return the section on shallow students of deep teachers."""
    blocks = [
        "## A shallow student of a deep teacher",
        "Test score, mean and 95 % t interval over runs of the same splits and seeds, and seconds to predict on the whole graph.",
    ]
    for r in last_of_each(read("students", folder), lambda r: (r["data"], r["preset"], r["deep"], r["shallow"])):
        layers = {name: r["deep"] if name == "teacher" else r["shallow"] for name in r["scores"]}
        rows = [
            [name, layers[name], f"{mean['mean']:.4f} ({mean['low']:.4f} to {mean['high']:.4f})", spread(r["seconds"][name])]
            for name, mean in r["scores"].items()
        ]
        gain, runs = r["gain"], r["scores"]["teacher"]["n"]
        blocks += [
            f"### {r['data']}, preset {r['preset']}, {r['epochs']} epochs",
            table(["network", "layers", r["metric"], "seconds"], rows),
            f"By its teacher the student gains {gain['gain']:+.4f}, interval {gain['low']:+.4f} to {gain['high']:+.4f}, over "
            f"{runs} pairs of runs; it predicts {_median_ratio(r['seconds']['teacher'], r['seconds']['student'])} times as fast.",
            origin(r),
        ]
    return blocks


def _median_ratio(slow: list[float], fast: list[float]) -> str:
    return number(statistics.median(a / b for a, b in zip(slow, fast, strict=True)))
