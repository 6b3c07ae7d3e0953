"""ogbn-proteins: scores by depth (arXiv:2106.07476, main paper).

We know the scores from one list of others. Where the supplement or the authors' README has the same figure, it is the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from revgnn.experiments.catalogue.proteins_networks import equilibrium, residual, reversible
from revgnn.experiments.figures import Published, published
from revgnn.experiments.row import Preset, Row, Table

_CURVES = "main paper, scores by depth"
_TABLE_1, _TABLE_2 = "supplement, Table 1", "supplement, Table 2"
_FIRST_HAND = {
    ("ResGNN-64", 112): (_TABLE_2, "ResGNN, 64 channels"),
    ("RevGNN-80", 112): (_TABLE_2, "RevGNN, 80 channels"),
    ("RevGNN-80", 1001): ("README of the authors' code", None),
    **{("RevGNN-224", layers): (_TABLE_1, f"{layers} layers, group 2") for layers in (3, 7, 14, 28, 56, 112)},
    ("WT-ResGNN-64", 112): (_TABLE_2, "WT-ResGNN, 64 channels"),
    ("DEQ-GNN-64", 56): (_TABLE_2, "DEQ-GNN, 64 channels"),
}
"""Figures of this table that are printed elsewhere: place and row."""


def _figures(network: str, size: int, score: str) -> Published:
    if (network, size) in _FIRST_HAND:
        place, row = _FIRST_HAND[network, size]
        return published(place, row, score=score)
    if score == "OOM":
        return published(_CURVES, network, second_hand=True, memory_gb=score)
    return published(_CURVES, network, second_hand=True, score=score)


def _rows(network: str, preset: Callable[[int], Preset], scores: dict[int, str]) -> Iterable[Row]:
    letter = "I" if network.startswith("DEQ") else "L"
    return (Row(f"{network}-{letter}{size}", preset(size), _figures(network, size, score)) for size, score in scores.items())


DEPTH = Table(
    "depth",
    "scores by depth, or by iterations of an equilibrium",
    _CURVES,
    (
        *_rows(
            "ResGNN-64",
            lambda depth: residual(64, depth),
            {3: "83.47", 7: "84.65", 14: "85.16", 28: "85.26", 56: "86.05", 112: "85.94", 448: "OOM"},
        ),
        *_rows(
            "RevGNN-80",
            lambda depth: reversible(80, depth),
            {3: "84.71", 7: "84.96", 14: "85.31", 28: "85.96", 56: "85.97", 112: "85.97", 448: "86.83", 1001: "87.06 ± 0.20"},
        ),
        *_rows(
            "RevGNN-224",
            lambda depth: reversible(224, depth),
            {3: "85.09", 7: "85.68", 14: "86.62", 28: "86.68", 56: "86.90", 112: "87.02", 448: "87.33"},
        ),
        *_rows(
            "WT-ResGNN-64",
            lambda depth: residual(64, depth, tied=True),
            {3: "82.76", 7: "83.41", 14: "83.67", 28: "83.35", 56: "82.91", 112: "83.30"},
        ),
        *_rows(
            "DEQ-GNN-64",
            lambda iterations: equilibrium(64, iterations),
            {3: "79.04", 7: "82.82", 14: "82.88", 56: "83.17"},
        ),
    ),
    notes=(
        "Scores that neither the supplement nor the authors' README has are second-hand.",
        "That DEQ-GNN-64 of Table 2 has 56 iterations follows from its score, which is the same; the supplement does not say it.",
    ),
)
