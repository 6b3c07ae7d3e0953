"""The page of plans on paper, docs/projections.md, from a line of results."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from benchmarks import harness
from benchmarks.report.records import origin
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
edge. Memory is that of a GPU; where only training fits, evaluate in parts."""


LIMITS = (
    "- An evaluation of `graph` gathers the logits of all nodes in every process, which does not fall with GPUs, and neither does "
    "the dropout mask, which each process draws for all nodes for a moment. Both must change for graphs of this size.",
    "- A pipeline holds the inputs of all parts under way in its first stage: with this many features it is no way to save memory.",
    "- Weights are small beside nodes here: cutting them saves nothing.",
)
"""What the figures show, and what would have to be done."""


def page(result: dict[str, Any]) -> str:
    """Return the page."""
    blocks = ["# The largest graphs, on paper", INTRODUCTION, "## What it rests on"]
    factors = " and ".join(f"{name} ({value:.1f})" for name, value in result["factors"].items())
    blocks += [HOW.format(factors=factors), *_graphs(result), "## Ways of spreading", SPREADING]
    for name in result["graphs"]:
        plans = [p for p in result["plans"] if p["data"] == name]
        blocks += [f"## {name}", _shares(plans), *(block for p in plans for block in _plan(p, result))]
    blocks += ["## What it says", *_findings(result), origin(result)]
    return "\n\n".join(map(_wrapped, blocks)) + "\n"


def _wrapped(block: str) -> str:
    """Return prose and lists in lines of at most 120 characters; tables and titles as they are."""
    if block.startswith(("|", "#")):
        return block
    items = re.split(r"\n(?=- )", block)
    lines = (" ".join(item.split()) for item in items)
    return "\n".join(
        textwrap.fill(line, 120, subsequent_indent="  " * line.startswith("- "), break_long_words=False, break_on_hyphens=False)
        for line in lines
    )


def _graphs(result: Mapping[str, Any]) -> list[str]:
    rows = [
        [name, f"{g['nodes']:,}", f"{g['edges']:,}", str(g["features"]), str(g["classes"]), bytes_text(g["bytes"])]
        for name, g in result["graphs"].items()
    ]
    head = ["graph", "nodes", "edges", "features", "classes", "in memory"]
    sources = (
        "Counts of ogbn-papers100M are from [OGB](https://ogb.stanford.edu/docs/nodeprop/) (arXiv:2005.00687), of MAG240M from "
        "[OGB-LSC](https://ogb.stanford.edu/docs/lsc/mag240m/) (arXiv:2103.09430). Of the 244,160,499 nodes and 1,728,364,232 "
        "edges of MAG240M only papers and their citations are planned: authors and institutions have no features of their own."
    )
    return [harness.table(head, rows), sources]


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
        training, evaluation = sum(found["memory_bytes"].values()), found["evaluation_bytes"]
        limit = result["device_planned"]["memory_bytes"]
        for link, where in found["seconds"].items():
            seconds = [seconds_text(value) for value in (sum(where.values()), *where.values())]
            fits = "yes" if max(training, evaluation) <= limit else "training" if training <= limit else "no"
            memory = bytes_text(training), bytes_text(evaluation)
            rows.append([mode, *memory, fits, bytes_text(found["sent_bytes"]), link, *seconds])
    head = ["spread", "training", "evaluation", "fits", "sent a step", "link", "step", "compute", "exchange", "bubble", "waiting"]
    title = f"### {plan['network']} channels, {plan['ranks']} GPUs"
    refused = [f"`{mode}`: {found}" for mode, found in plan["modes"].items() if isinstance(found, str)]
    return [title, harness.table(head, rows), *refused]


def _findings(result: Mapping[str, Any]) -> list[str]:
    """Return what the tables say, in sentences whose numbers are theirs."""
    limit = result["device_planned"]["memory_bytes"]
    lines = []
    for name in result["graphs"]:
        plans = [p for p in result["plans"] if p["data"] == name]
        fitting = [p for p in plans if sum(p["modes"]["graph"]["memory_bytes"].values()) <= limit]
        which = "; ".join(f"{p['network']} on {p['ranks']}" for p in fitting) or "none"
        lines.append(f"- {name}: a training step on the whole graph fits into {bytes_text(limit)} a GPU for: {which}.")
        slow = max(plans, key=_exchange)
        lines.append(
            f"- {name}: exchange takes up to {100 * _exchange(slow):.0f} % of a step of `graph` over "
            f"{list(result['links'])[-1]} ({slow['network']} channels, {slow['ranks']} GPUs)."
        )
    return ["\n".join([*lines, *LIMITS])]


def _exchange(plan: Mapping[str, Any]) -> float:
    """Return the share of exchange in a step of a graph over the slower link."""
    where = list(plan["modes"]["graph"]["seconds"].values())[-1]
    return where["exchange"] / sum(where.values())
