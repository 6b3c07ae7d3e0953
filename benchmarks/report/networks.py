"""Sections on whole networks: a training step, its depth, its strategy, where its time goes, and a graph in one piece."""

from __future__ import annotations

from pathlib import Path

from benchmarks.harness import Spread
from benchmarks.report.records import Record, last_of_each, megabytes, number, origin, read, shape, spread, table

PEERS = {
    "revgnn": "revgnn",
    "PyG, shared": "PyTorch Geometric: the same network, shared edge encoder",
    "PyG, shared+EdgeIndex+compiled": "the same, `EdgeIndex`, `torch.compile`",
    "PyG, raw": "PyTorch Geometric: a smaller network, raw edge features",
    "PyG, raw+EdgeIndex+compiled": "the smaller network, `EdgeIndex`, `torch.compile`",
}


def step(folder: Path) -> list[str]:
    """Return the section on a training step beside PyTorch Geometric's."""
    blocks = [
        "## A training step",
        "Forward pass, loss and backward pass of RevGNN with max aggregation on the shape of a batch of ogbn-proteins, "
        "beside the same "
        "network of `GENConv` in `GroupAddRev`. Peak is live tensor bytes above weights and inputs. By default glibc returns large "
        "tensors to the system when they are freed; where the title says so, two environment variables make it keep them.",
    ]
    for r in last_of_each(read("step", folder), lambda r: (r["channels"], r["groups"], r["depth"], bool(r.get("malloc")))):
        kept = ", memory kept by glibc" if r.get("malloc") else ""
        rows = []
        for name, seconds in r["seconds"].items():
            faster = r["speed_up"].get(name)
            rows.append([PEERS[name], spread(seconds), megabytes(r["peak_bytes"][name]), spread(faster) if faster else ""])
        blocks += [
            f"### {r['channels']} channels, {r['groups']} groups, {r['depth']} layers{kept}",
            f"{shape(r)}, {r['dtype']}, {_rounds(r)}.",
            table(["network", "seconds a step", "peak", "revgnn is faster by"], rows),
            origin(r),
        ]
    return blocks


def depth(folder: Path) -> list[str]:
    """Return the section on time and memory against depth, of the last run with several rounds and of the deepest run."""
    records = [r for r in read("depth", folder) if "reference" in r]
    several = [r for r in records if r["repeats"] > 1]
    deepest = max(records, key=lambda r: max(p["depth"] for p in r["depths"]))
    blocks = [
        "## Depth",
        "Every turn stands between two turns of a reference network and is compared with them, because the speed of a "
        "machine drifts. "
        "Peaks are measured. Gradients are those of the parameters, a part of the peak.",
    ]
    for r in [*several[-1:], *([deepest] if deepest not in several[-1:] else [])]:
        rows = []
        for p in r["depths"]:
            layer = spread(p["layer_seconds"], 1e3) if p["seconds"] else ""
            seconds = spread(p["seconds"]) if p["seconds"] else ""
            rows.append(
                [p["curve"], f"{p['depth']:,}", seconds, layer, megabytes(p["peak_bytes"]), megabytes(p["parameter_bytes"])]
            )
        head = ["curve", "layers", "seconds a step", "ms a layer", "peak", "gradients"]
        title = f"### Up to {max(p['depth'] for p in r['depths']):,} layers, {r['channels']} channels"
        blocks += [title, f"{shape(r)}, {r['dtype']}, {_rounds(r)}.", table(head, rows), origin(r)]
    return [*blocks, "![Time of a layer against depth](figures/depth.svg)"]


def groups(folder: Path) -> list[str]:
    """Return the section on the number of groups."""
    r = [r for r in read("depth", folder) if r.get("groups") and r["repeats"] > 1][-1]
    rows = [[p["groups"], spread(p["seconds"]), megabytes(p["peak_bytes"])] for p in r["groups"]]
    text = f"{r['channels']} channels, {r['groups'][0]['depth']} layers, {shape(r)}, {_rounds(r)}."
    return ["## Groups", text, table(["groups", "seconds a step", "peak"], rows), origin(r)]


def strategies(folder: Path) -> list[str]:
    """Return the section on gradient strategies and kinds of state."""
    r = read("strategies", folder)[-1]
    rows = [
        [f"`{name}`", spread(r["seconds"][name]), megabytes(r["peak_bytes"][name]), _over(r, name, "Backprop, grid")]
        for name in r["seconds"]
    ]
    text = (
        f"{r['channels']} channels, {r['groups']} groups, {r['depth']} layers, {shape(r)}, in turns. One evaluation "
        "more makes 4/3 in "
        "theory, if a backward pass takes twice the time of a forward pass. Unverified is without the checksum of the state."
    )
    return [
        "## Strategies and states",
        text,
        table(["strategy, state", "seconds a step", "peak", "time over `Backprop`"], rows),
        origin(r),
    ]


def _over(r: Record, name: str, other: str) -> str:
    return "1" if name == other else spread(r["ratios"][name][other])


def profile(folder: Path) -> list[str]:
    """Return the section on where the time of a step goes."""
    blocks = [
        "## Where the time goes",
        "Seconds inside each kernel and each kind of torch's operators, beside the bound that the machine sets: "
        "multiply-adds, bytes, or "
        "the gathering of rows, at rates measured in the same run.",
    ]
    for r in last_of_each(read("profile", folder), lambda r: (r["channels"], r["groups"], r["depth"])):
        total = Spread.of(r["seconds"]["as it is"]).median
        parts = sorted(r["parts"], key=lambda p: -p["seconds"]["median"])
        rows = [
            [
                p["part"],
                spread(p["seconds"], 1e3 / r["depth"]),
                f"{100 * p['seconds']['median'] / total:.0f} %",
                _bound(p, r["depth"]),
            ]
            for p in parts
            if p["seconds"]["median"] >= 0.01 * total
        ]
        rows.append(
            ["**the step**", spread(r["seconds"]["as it is"], 1e3 / r["depth"]), "", f"{1e3 * r['bound_seconds'] / r['depth']:.3g}"]
        )
        blocks += [
            f"### {r['depth']} layers of {r['channels']} channels, {r['groups']} groups",
            f"{shape(r)}, {_rounds(r)}; parts of 1 % and more. The step takes {spread(r['times_the_bound'])} times its bound.",
            table(["part", "ms a layer", "of the step", "bound, ms"], rows),
            origin(r),
        ]
    return blocks


def _bound(part: Record, depth: int) -> str:
    seconds, binding = part.get("bound_seconds"), part.get("binding")
    return "" if not seconds else f"{1e3 * seconds / depth:.3g} ({binding})" if binding else f"{1e3 * seconds / depth:.3g}"


def full_batch(folder: Path) -> list[str]:
    """Return the section on the whole of ogbn-proteins' shape."""
    records = last_of_each(read("full-batch", folder), lambda r: (r["channels"], r["depth"], r["inference"]))
    blocks = [
        "## The whole of ogbn-proteins' shape",
        "The graph in one piece. Peak is that of the pass, beside graph, inputs and weights.",
    ]
    for r in records:
        rows = [
            [name, number(r[f"{name}_seconds"]), spread(r["layer_seconds"][name])]
            for name in ("forward", "backward")
            if f"{name}_seconds" in r
        ]
        total = sum(r[key] for key in ("peak_bytes", "graph_bytes", "input_bytes", "parameter_bytes"))
        kind = "inference" if r["inference"] else "a training step"
        blocks += [
            f"### {r['depth']:,} layers of {r['channels']} channels, {kind}",
            f"{shape(r)}. Peak {megabytes(r['peak_bytes'])}, graph {megabytes(r['graph_bytes'])}, inputs "
            f"{megabytes(r['input_bytes'])}, parameters {megabytes(r['parameter_bytes'])}: {total / 1e9:.2f} GB in all. "
            "The process never "
            f"had more than {r['process_peak_bytes'] / 1e9:.2f} GB, making the graph included.",
            table(["pass", "seconds", "seconds a layer"], rows),
            origin(r),
        ]
    return blocks


def compiled(folder: Path) -> list[str]:
    """Return the section on blocks under `torch.compile`."""
    r = read("compile", folder)[-1]
    rows = []
    for name, seconds in r["seconds"].items():
        base = name.removesuffix(", compiled")
        faster = spread(r["times_faster"][base]) if base != name else ""
        rows.append([name, spread(seconds), number(r["warm_up_seconds"][name]), faster])
    text = f"A reversible stack of {r['depth']} layers, {r['channels']} channels, {shape(r)}, {_rounds(r)} in turns."
    head = ["blocks", "seconds a step", "seconds of the first step", "compiling is faster by"]
    return ["## Compiled blocks", text, table(head, rows), origin(r)]


def _rounds(r: Record) -> str:
    return f"{r['repeats']} round{'s' if r['repeats'] > 1 else ''}"
