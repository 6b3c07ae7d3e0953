"""evaluations.json: scores of a run's best weights in several views and parts. They belong to these weights alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from revgnn.experiments.run_files.weights_note import weights_digest
from revgnn.files import write_json

NAME = "evaluations.json"

Scores = dict[tuple[int, int], dict[str, Any]]
"""`train`, `valid` and `test` by views and parts. One part is the whole graph, which has one view."""


def read_evaluations(run: Path) -> Scores:
    """Return the scores that are saved for the present weights of a run; after it was trained again there are none."""
    try:
        saved = json.loads((run / NAME).read_text(encoding="utf-8"))
        if saved["weights"] != weights_digest(run):
            return {}
        keys = {key: tuple(int(word) for word in key.split("x")) for key in saved["scores"]}
        return {(views, parts): saved["scores"][key] for key, (views, parts) in keys.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def write_evaluations(run: Path, scores: Scores) -> None:
    """Save scores of the present weights of a run."""
    saved = {f"{views}x{parts}": row for (views, parts), row in scores.items()}
    write_json(run / NAME, {"weights": weights_digest(run), "scores": saved})


def key_of(views: int, parts: int) -> tuple[int, int]:
    """Return the views that differ, and the parts."""
    return (views if parts > 1 else 1), parts
