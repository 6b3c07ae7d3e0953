"""The page of plans on paper, docs/projections.md, from a line of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import harness
from benchmarks.report.records import filled
from revgnn._text import bytes_text, seconds_text

INTRODUCTION = """\
**On paper.** Nothing on this page has run: no graph of this size was read, and no job of several GPUs was started. It
says what `revgnn plan --ranks` ([plan.md](plan.md)) finds for the two largest public graphs of nodes with labels.
`python -m benchmarks projections` plans them, `python -m benchmarks projections --page` made this page."""

HOW = """\
- **Memory** is rehearsed: the code of a training step runs on tensors without memory, as on a CPU. What CUDA and its
  libraries take for themselves comes on top.
- **Rows to fetch** in a graph over processes are those of a random graph of this size. Real graphs have nodes of many
  edges, and a cut by METIS keeps neighbours together: they need fewer. How many fewer is not known here.
- **Bytes** that travel are counted. A link carries what its maker says, in both directions at once.
- **Seconds** of computing are bytes and operations of a layer, counted, at the speed of the data sheet, times a factor:
  {factors} took so many times as long on an H200 as counted. The larger is used. These were small batches, where
  starting kernels counts for more; a large one may do better, at best by that factor.
- **Graphs** are taken as published, edges one way. Features and labels are float32 and int64 here: those of MAG240M,
  published as float16, take twice their size."""

SPREADING = """\
In `parts`, `layers` and `weights` the graph is cut into as many random parts as there are GPUs, and a step takes all of
them. A random part keeps few edges: of K parts each has 1/K^2 of all, so that a step sees 1/K. `graph` sees every
edge."""


def page(result: Mapping[str, Any]) -> str:
    """Return the page."""
    blocks = ["# The largest graphs, on paper", INTRODUCTION, "## What it rests on"]
    factors = " and ".join(f"{name} ({value:.1f})" for name, value in result["factors"].items())
    blocks += [HOW.format(factors=factors), _graphs(result), "## Ways of spreading", SPREADING]
    for name in result["graphs"]:
        plans = [p for p in result["plans"] if p["data"] == name]
        blocks += [f"## {name}", _shares(plans), *(block for p in plans for block in _plan(p, result))]
    blocks += ["## What it says", *_findings(result)]
    return filled(blocks)


def _graphs(result: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{g['nodes']:,}", f"{g['edges']:,}", str(g["features"]), str(g["classes"]), bytes_text(g["bytes"])]
        for name, g in result["graphs"].items()
    ]
    head = ["graph", "nodes", "edges", "features", "classes", "in memory"]
    text = harness.table(head, rows)
    sources = (
        "Counts of ogbn-papers100M are from [OGB](https://ogb.stanford.edu/docs/nodeprop/) (arXiv:2005.00687), of MAG240M from "
        "[OGB-LSC](https://ogb.stanford.edu/docs/lsc/mag240m/) (arXiv:2103.09430). Of the 244,160,499 nodes and 1,728,364,232 "
        "edges of MAG240M only papers and their citations are planned: authors and institutions have no features of their own."
    )
    return f"{text}\n\n{sources}"


def _shares(plans: list[Mapping[str, Any]]) -> str:
    rows = []
    for p in {p["ranks"]: p for p in plans}.values():
        share = p["share"]
        rows.append([str(p["ranks"]), *(f"{share[k]:,}" for k in ("own", "fetched", "edges")), f"{p['part_edges']:,}"])
    return harness.table(["GPUs", "nodes of one", "rows it fetches", "edges of one", "edges of a random part"], rows)


def _plan(plan: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    rows = []
    for mode, found in plan["modes"].items():
        if isinstance(found, str):
            continue
        total = _total(found)
        for link, where in found["seconds"].items():
            seconds = [seconds_text(value) for value in (sum(where.values()), *where.values())]
            fits = "yes" if total <= result["device_planned"]["memory_bytes"] else "no"
            rows.append([mode, bytes_text(total), fits, bytes_text(found["sent_bytes"]), link, *seconds])
    head = ["spread", "memory of a GPU", "fits", "sent a step", "link", "step", "compute", "exchange", "bubble", "waiting"]
    title = f"### {plan['network']} channels, {plan['ranks']} GPUs"
    refused = [f"`{mode}`: {found}" for mode, found in plan["modes"].items() if isinstance(found, str)]
    return [title, harness.table(head, rows), *refused]


def _findings(result: Mapping[str, Any]) -> list[str]:
    """Return what the tables say, in sentences whose numbers are theirs."""
    limit = result["device_planned"]["memory_bytes"]
    lines = []
    for name in result["graphs"]:
        plans = [p for p in result["plans"] if p["data"] == name]
        fitting = [p for p in plans if _total(p["modes"]["graph"]) <= limit]
        which = ", ".join(f"{p['network']} on {p['ranks']}" for p in fitting) or "none"
        lines.append(f"- {name}, the whole graph over GPUs of {bytes_text(limit)}: of the networks above these fit: {which}.")
        slow = max(plans, key=_exchange)
        lines.append(
            f"- {name}: exchange takes up to {100 * _exchange(slow):.0f} % of a step of `graph` over "
            f"{list(result['links'])[-1]} ({slow['network']}, {slow['ranks']} GPUs)."
        )
    return ["\n".join(lines)]


def _total(found: Mapping[str, Any]) -> float:
    return max(sum(found["memory_bytes"].values()), found["evaluation_bytes"])


def _exchange(plan: Mapping[str, Any]) -> float:
    """Return the share of exchange in a step of a graph over the slower link."""
    where = list(plan["modes"]["graph"]["seconds"].values())[-1]
    return where["exchange"] / sum(where.values())
