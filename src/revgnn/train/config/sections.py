"""The sections of a run's configuration: data, optimiser, evaluation, distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from revgnn.files import expanded

Amp = Literal["none", "bf16", "fp16"]
Features = Literal["raw", "standard", "log", "rows"]
EdgeStorage = Literal["float32", "auto", "float16", "bfloat16"]
"""As `revgnn.data.load.EdgeStorage`, which cannot be imported without torch."""
Average = Literal["nodes", "entries"]
TaskName = Literal["multiclass", "binary", "multilabel", "regression", "links", "edges"]
"""As `revgnn.data.dataset.TaskSetting`."""
Metric = Literal["rocauc", "accuracy", "f1", "f1_micro", "f1_macro", "ap", "hits@10", "hits@50", "hits@100", "mae", "rmse", "r2"]
"""As `revgnn.data.Metric`."""

TABLE_SETTINGS = (
    "edges",
    "graph_file",
    "labels",
    "kinds",
    "split_ratios",
    "stratify",
    "split_time",
    "on_bad_rows",
    "label_file",
    "task",
)
"""The settings of data for tables and graph files (the last also for arrays): fields of `revgnn.data.TableOptions`, which cannot be
imported without torch."""


class Section(BaseModel):
    """Settings that cannot be changed in place. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """The data set; see `revgnn.data.load`."""

    name: str = Field(description="Name of a data set (`revgnn datasets`), or path of your own file or folder.")
    root: str | None = Field(default=None, description="Folder that holds the data.")
    split: int | str = Field(default=0, description="Which of the data set's splits.")
    undirected: bool | None = Field(
        default=None, description="Add the reverse of every edge. Default: as is customary for the data set."
    )
    self_loops: bool | None = Field(
        default=None,
        description="true: give each node a self-loop; false: remove all self-loops. Default: as is customary for the data set.",
    )
    split_file: str | None = Field(
        default=None,
        description="An .npz file with arrays train, valid and test (node numbers, or masks), instead of the data set's splits.",
    )
    features: Features = Field(
        default="raw",
        description="raw; standard: mean 0 and deviation 1; log: sign(x) log(1 + |x|), then standard; rows: each node's sum to 1.",
    )
    node_features: str | None = Field(
        default=None, description="An .npy file (N, F) of float16, 32 or 64 with node features that replace the data set's own."
    )
    keep_features: bool = Field(default=False, description="Join the features of node_features to the data set's own.")
    edge_storage: EdgeStorage = Field(
        default="float32",
        description="How edge features are stored. auto: in 16 bits if nothing is lost; float16, bfloat16: in 16 bits, rounded.",
    )
    download: bool = Field(default=False, description="Download a published data set that is missing.")
    archive: str | None = Field(
        default=None, description="The archive of a published data set that you have, unpacked below data.root if it is not there."
    )
    edges: str | None = Field(default=None, description="For tables: the table of edges. Default: the one beside the nodes.")
    graph_file: str | None = Field(
        default=None, description="For tables: the file that says how columns are understood. Default: graph.yaml beside the nodes."
    )
    labels: tuple[str, ...] | None = Field(default=None, description="For tables: columns of labels. Default: by their name.")
    kinds: dict[str, str] | None = Field(
        default=None, description="For tables: kinds of columns, such as {age: categorical, edges.amount: ignored}."
    )
    split_ratios: tuple[float, float, float] | None = Field(
        default=None, description="For tables: shares of training, validation and test nodes."
    )
    stratify: bool | None = Field(default=None, description="For tables: cut each class by the ratios.")
    split_time: str | None = Field(
        default=None, description="For tables: the column by which nodes are ordered; the earliest are for training."
    )
    label_file: str | None = Field(
        default=None,
        description="For graph files without labels (edge lists, matrices): a file with one label a node (.npy, .txt, .csv).",
    )
    on_bad_rows: Literal["refuse", "drop"] | None = Field(
        default=None,
        description="For tables: refuse: stop at the first row that cannot be used (the default); drop: leave such rows out.",
    )
    task: TaskName | None = Field(
        default=None,
        description="For tables and .npz files: what the labels are: classes (multiclass or binary), several labels of yes and no "
        "(multilabel), or numbers (regression); for tables also edges: labels of edges. For any graph: links: which pairs of nodes "
        "have an edge. Default: as they look.",
    )
    metric: Metric | None = Field(default=None, description="The score. Default: that of the data set.")

    @field_validator("split")
    @classmethod
    def _read_number(cls, split: int | str) -> int | str:
        return int(split) if isinstance(split, str) and split.isdecimal() else split

    @field_validator("split_file", "node_features", "edges", "graph_file", "label_file")
    @classmethod
    def _make_absolute(cls, path: str | None) -> str | None:
        return None if path is None else absolute(path)

    def table_settings(self) -> dict[str, Any]:
        """Return the settings of tables that are given, by the names of `revgnn.data.TableOptions`."""
        return {name: value for name in TABLE_SETTINGS if (value := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _check_features(self) -> DataConfig:
        if self.keep_features and self.node_features is None:
            raise ValueError("keep_features joins other features to the data set's own: name their file in node_features.")
        return self


class OptimConfig(Section):
    """The optimiser, which takes one step per part: torch's Adam (Kingma and Ba 2015) or RMSprop (Tieleman and Hinton 2012)."""

    name: Literal["adam", "rmsprop"] = Field(default="adam", description="adam, or rmsprop (RevGAT's).")
    lr: float = Field(default=1e-3, gt=0, description="Learning rate.")
    reference_depth: int | None = Field(
        default=None,
        ge=1,
        description="Layers up to which lr is the learning rate; a deeper network has lr * sqrt(reference_depth / depth). "
        "Default: lr at any depth.",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty, added to the gradient.")
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest norm of the whole gradient; null: no clipping.")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="cosine: the learning rate falls to 0 at the last step."
    )
    warmup: int = Field(default=0, ge=0, description="First epochs, in which the learning rate rises linearly from 0.")


class EvalConfig(Section):
    """How a score is computed: from logits averaged over `views` random partitions into `parts` parts."""

    parts: int = Field(default=1, ge=1, description="Parts of each view; 1 is the whole graph.")
    views: int = Field(default=1, ge=1, description="Independent partitions whose logits are averaged.")
    every: int = Field(default=1, ge=1, description="Epochs from one evaluation to the next; the last epoch is always evaluated.")
    amp: Amp = Field(default="none", description="Precision of the forward pass.")


class DistillationConfig(Section):
    """Learning from a teacher: loss = (1 - alpha) * loss + alpha * T^2 * KL(teacher || student), both softened by T.

    Hinton et al. 2015 (arXiv:1503.02531). In self-distillation the teacher has the student's configuration.
    """

    teacher: str | None = Field(
        default=None, description="Folder of a finished run, or of a sweep: then its run with the student's split and seed."
    )
    alpha: float = Field(default=0.5, ge=0, le=1, description="Share of the teacher in the loss.")
    temperature: float = Field(default=1.0, gt=0, description="T, by which both logits are divided.")
    average: Average = Field(
        default="nodes",
        description="What the divergence is averaged over: nodes, or entries (nodes x outputs) as in the authors' RevGAT.",
    )

    @field_validator("teacher")
    @classmethod
    def _make_absolute(cls, path: str | None) -> str | None:
        return None if path is None else absolute(path)


def absolute(path: Path | str) -> str:
    """Return the absolute path, so that a run finds its files from any folder."""
    return str(expanded(path).absolute())


def is_path(name: str) -> bool:
    """Return whether the name of a data set is the path of a file or folder, with `/` or with the suffix of a file."""
    return "/" in name or name.endswith((".npz", ".npy"))
