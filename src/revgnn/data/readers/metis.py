"""METIS's .graph: line i lists the neighbours of node i, after a header with the numbers of nodes and edges.

Format: section 4.1.1 of the METIS 5.1 manual (Karypis 2013). No well-kept library reads it in Python.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from revgnn.data.readers.format import Format
from revgnn.data.readers.sparse import check_num_nodes
from revgnn.data.readers.text_file import MAX_TEXT_BYTES, check_size, open_text, unreadable

if TYPE_CHECKING:
    from revgnn.data.tables.contents import EdgeTable

_HEADER = re.compile(rb"\s*(\d{1,18})\s+(\d{1,18})(?:\s+([01]{1,3})(?:\s+(\d{1,6}))?)?\s*\Z")
_COMMENTS = re.compile(rb"(?m)^[ \t]*%.*(?:\n|\Z)")


def read_metis(path: Path) -> EdgeTable:
    """Return the edges of a METIS graph, each once; nodes are numbered from 0, so that line 1 is node 0.

    Weights of edges are their feature `weight`; sizes and weights of nodes are features of nodes, `size` and `weight` (or
    `weight_1`, `weight_2` and so on).

    Raises:
        ValueError: in one line, if it is damaged, or holds other numbers of nodes and edges than its header promises.
    """
    check_size(path, MAX_TEXT_BYTES)
    try:
        with open_text(path) as file:
            text = _COMMENTS.sub(b"", file.read())
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, FORMAT.name, error) from None
    header, _, body = text.partition(b"\n")
    match = _HEADER.match(header)
    if match is None:
        shown = header[:40].decode("utf-8", "replace")
        raise ValueError(f"{path} cannot be read as METIS: its first line must be `nodes edges [format [weights]]`, got {shown!r}.")
    num_nodes, num_edges = int(match[1]), int(match[2])
    has_size, has_weights, has_edge_weights = (flag == "1" for flag in (match[3] or b"0").decode().zfill(3))
    num_weights = (int(match[4]) if match[4] else 1) if has_weights else 0
    if num_nodes > len(body) + 1 or num_edges > len(body):
        raise ValueError(
            f"{path} is refused: its header promises {num_nodes:,} nodes and {num_edges:,} edges, for which the file is too short."
        )
    check_num_nodes(num_nodes, num_edges, path)
    numbers, lines = _numbers(body, num_nodes, path)
    return _edges(numbers, lines, num_nodes, num_edges, int(has_size), num_weights, has_edge_weights, path)


def _numbers(body: bytes, num_nodes: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return all numbers, int64, and the line of each, counted from 0."""
    strange = body.translate(None, b"0123456789 \t\r\n")
    if strange:
        raise ValueError(f"{path} cannot be read as METIS: it may hold whole numbers only, got {strange[:20]!r}.")
    characters = np.frombuffer(body, np.uint8)
    is_digit = characters >= ord("0")
    starts = np.flatnonzero(is_digit & ~np.concatenate([[False], is_digit[:-1]]))
    line_ends = np.flatnonzero(characters == ord("\n"))
    lines = np.searchsorted(line_ends, starts)
    if lines.size and lines[-1] >= num_nodes:
        raise ValueError(f"{path} has more lines than the {num_nodes:,} nodes that its header promises.")
    if line_ends.size < num_nodes - 1:
        raise ValueError(f"{path} has {line_ends.size + 1:,} lines for the {num_nodes:,} nodes that its header promises.")
    # Numbers that do not fit become the largest int64, which is out of range below.
    numbers = np.fromstring(body.decode("ascii"), np.int64, sep=" ") if starts.size else np.zeros(0, np.int64)
    assert numbers.size == starts.size
    return numbers, lines


def _edges(
    numbers: np.ndarray,
    lines: np.ndarray,
    num_nodes: int,
    num_edges: int,
    num_sizes: int,
    num_weights: int,
    has_edge_weights: bool,
    path: Path,
) -> EdgeTable:
    import pyarrow as pa

    from revgnn.data.tables.contents import EdgeTable

    skip, step = num_sizes + num_weights, 2 if has_edge_weights else 1
    counts = np.bincount(lines, minlength=num_nodes)
    bad = np.flatnonzero((counts < skip) | ((counts - skip) % step != 0))
    if bad.size:
        raise ValueError(f"{path}: the line of node {bad[0] + 1} has {counts[bad[0]]} numbers, which does not fit the header.")
    starts = np.cumsum(counts) - counts
    place = np.arange(numbers.size) - starts[lines]
    is_target = (place >= skip) & ((place - skip) % step == 0)
    source, target = lines[is_target].astype(np.int64), numbers[is_target] - 1
    outside = np.flatnonzero((target < 0) | (target >= num_nodes))
    if outside.size:
        at = outside[0]
        raise ValueError(f"{path}: node {source[at] + 1} names node {target[at] + 1}; nodes are 1 to {num_nodes}.")
    # Every edge stands in the lines of both its ends.
    once, back = source < target, source > target
    forward, backward = (np.sort(a * num_nodes + b) for a, b in ((source[once], target[once]), (target[back], source[back])))
    if source.size != 2 * num_edges or not np.array_equal(forward, backward) or 2 * forward.size != source.size:
        raise ValueError(
            f"{path} lists {source.size:,} neighbours; {num_edges:,} edges need {2 * num_edges:,}, each edge at both of its ends."
        )
    edges = {"source": source[once], "target": target[once]}
    if has_edge_weights:
        edges["weight"] = numbers[np.flatnonzero(is_target) + 1][once]
    nodes = {"id": np.arange(num_nodes)}
    for i in range(skip):
        number = i - num_sizes + 1
        name = "size" if i < num_sizes else "weight" if num_weights == 1 else f"weight_{number}"
        nodes[name] = numbers[starts + i]
    return EdgeTable(pa.table(edges), False, num_nodes, pa.table(nodes) if skip else None)


FORMAT = Format(
    name="METIS",
    endings=(".graph", ".graph.gz", ".metis"),
    holds="edges, with weights; weights of nodes",
    gives="edges",
    read=read_metis,
)
