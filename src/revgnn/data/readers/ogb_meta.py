"""What the raw files of an OGB set do not say: its tasks, score, default split and download address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from revgnn.data.dataset import Metric, Task


class OGBMeta(NamedTuple):
    """The entries of OGB's `meta_dict` that a reader needs."""

    num_tasks: int
    num_classes: int
    task_type: str
    eval_metric: str
    split: str
    add_inverse_edge: bool
    binary: bool
    is_hetero: bool = False
    download_name: str = ""
    url: str = ""


_URL = "http://snap.stanford.edu/ogb/data/nodeproppred"
OFFICIAL: dict[str, OGBMeta] = {
    "ogbn-proteins": OGBMeta(
        112, 2, "binary classification", "rocauc", "species", True, False, False, "proteins", f"{_URL}/proteins.zip"
    ),
    "ogbn-products": OGBMeta(
        1, 47, "multiclass classification", "acc", "sales_ranking", True, False, False, "products", f"{_URL}/products.zip"
    ),
    "ogbn-arxiv": OGBMeta(1, 40, "multiclass classification", "acc", "time", False, False, False, "arxiv", f"{_URL}/arxiv.zip"),
}
"""The sets of the paper, whose folders have no meta_dict.json."""


def read_meta(folder: Path, name: str) -> OGBMeta:
    """Return the contents of `meta_dict.json`, or those known for the official sets.

    Raises:
        ValueError: if the file is missing and the set is not an official one, or if the file is damaged or lacks an entry.
    """
    path = folder / "meta_dict.json"
    if not path.is_file():
        if name in OFFICIAL:
            return OFFICIAL[name]
        raise ValueError(
            f"{folder} has no meta_dict.json; all sets except {', '.join(OFFICIAL)} need one that says what their files mean."
        )
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return OGBMeta(
            num_tasks=int(stored["num tasks"]),
            num_classes=int(stored["num classes"]),
            task_type=stored["task type"],
            eval_metric=stored["eval metric"],
            split=stored["split"],
            add_inverse_edge=stored["add_inverse_edge"] == "True",
            binary=stored["binary"] == "True",
            is_hetero=stored.get("is hetero", "False") == "True",
        )
    except KeyError as error:
        raise ValueError(f"{path} has no entry {error}; it must have the entries of OGB's meta_dict.") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def task_and_metric(meta: OGBMeta, name: str) -> tuple[Task, Metric]:
    """Return the task and metric in the terms of `NodeDataset`.

    Raises:
        ValueError: if the set is not node classification on one graph, scored by a known metric.
    """
    metric = {"rocauc": "rocauc", "acc": "accuracy", "F1": "f1", "f1": "f1"}.get(meta.eval_metric)
    task = {
        ("binary classification", True): "binary",
        ("binary classification", False): "multilabel",
        ("multiclass classification", True): "multiclass",
    }.get((meta.task_type, meta.num_tasks == 1))
    if task is None or metric is None or meta.is_hetero:
        raise ValueError(
            f"{name}: {'a heterogeneous graph, ' if meta.is_hetero else ''}{meta.num_tasks} task(s) of {meta.task_type!r} scored "
            f"by {meta.eval_metric!r} cannot be trained on; supported is node classification of one graph by rocauc, acc or F1."
        )
    return task, metric  # type: ignore[return-value] - both are values of the literal types
