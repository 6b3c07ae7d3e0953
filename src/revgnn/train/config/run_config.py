"""A run as one frozen value: what is trained, on what, how, and for how long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from revgnn.models.config import ModelConfig
from revgnn.train.config.errors import ConfigError, explain

Device = Literal["auto", "cpu", "cuda"]
Amp = Literal["none", "bf16", "fp16"]
Features = Literal["raw", "standard", "log", "rows"]
EdgeStorage = Literal["float32", "auto", "float16", "bfloat16"]
"""As `revgnn.data.load.EdgeStorage`, which cannot be had without torch."""
Loss = Literal["cross_entropy", "log"]
Average = Literal["nodes", "entries"]

FREE_ON_RESUME = frozenset({"epochs", "save_every", "data.root", "data.download", "capture"})
"""Keys that may change when a run goes on: they alter how long it runs, where the data lies or how steps are launched, not what a
step computes."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Frozen):
    """Which data set; see `revgnn.data.load`."""

    name: str = Field(description="Name of a data set (`revgnn datasets`), or path of a file or folder of one's own.")
    root: str | None = Field(default=None, description="Folder that holds the data.")
    split: int | str = Field(default=0, description="Which of the data set's splits.")
    undirected: bool | None = Field(default=None, description="Add every edge's reverse. Default: as the set is used by custom.")
    self_loops: bool | None = Field(default=None, description="Give each node a loop, or take all. Default: as used by custom.")
    features: Features = Field(
        default="raw",
        description="raw; standard: mean 0 and deviation 1; log: sign(x) log(1 + |x|), then standard; rows: each node's sum to 1.",
    )
    node_features: str | None = Field(
        default=None, description="An .npy file (N, F) of float16, 32 or 64 with node features in place of the set's own."
    )
    keep_features: bool = Field(default=False, description="Put those of node_features beside the set's own, after them.")
    edge_storage: EdgeStorage = Field(
        default="float32",
        description="How edge features are held. auto: in 16 bits if nothing is lost; float16, bfloat16: in 16 bits, rounded.",
    )
    download: bool = Field(default=False, description="Fetch a published data set that is not there.")

    @field_validator("split")
    @classmethod
    def _number_if_it_reads_so(cls, split: int | str) -> int | str:
        return int(split) if isinstance(split, str) and split.isdecimal() else split

    @field_validator("node_features")
    @classmethod
    def _stored_absolute(cls, path: str | None) -> str | None:
        return None if path is None else _absolute(path)

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.keep_features and self.node_features is None:
            raise ValueError("keep_features puts other features beside the set's own: name their file in node_features.")
        return self


class OptimConfig(_Frozen):
    """The optimiser, one step a part: Adam (Kingma and Ba 2015), or RMSprop (Tieleman and Hinton 2012), both as torch has them."""

    name: Literal["adam", "rmsprop"] = Field(default="adam", description="adam, or rmsprop (RevGAT's).")
    lr: float = Field(default=1e-3, gt=0, description="Learning rate.")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty, added to the gradient.")
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest norm of the whole gradient; null: no clipping.")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="cosine: the rate falls to 0 with the last step."
    )
    warmup: int = Field(default=0, ge=0, description="Epochs in which the rate first rises linearly from 0.")


class EvalConfig(_Frozen):
    """How a score is made: logits averaged over `views` random partitions into `parts` parts."""

    parts: int = Field(default=1, ge=1, description="Parts of each view; 1 is the whole graph.")
    views: int = Field(default=1, ge=1, description="Independent partitions whose logits are averaged.")
    every: int = Field(default=1, ge=1, description="Epochs from one evaluation to the next; the last epoch is always evaluated.")
    amp: Amp = Field(default="none", description="Precision of the forward pass.")


class DistillationConfig(_Frozen):
    """Learning from a teacher: loss = (1 - alpha) * loss + alpha * T^2 * KL(teacher || student), both softened by T.

    Hinton et al. 2015 (arXiv:1503.02531). Self-distillation is the case of a teacher with the student's own configuration.
    """

    teacher: str | None = Field(
        default=None, description="Folder of a finished run, or of a sweep: then its run with the student's split and seed."
    )
    alpha: float = Field(default=0.5, ge=0, le=1, description="Share of the teacher in the loss.")
    temperature: float = Field(default=1.0, gt=0, description="T, by which both logits are divided.")
    average: Average = Field(
        default="nodes",
        description="What the divergence is averaged over: nodes, or entries, nodes x outputs, as the code of RevGAT does.",
    )

    @field_validator("teacher")
    @classmethod
    def _stored_absolute(cls, path: str | None) -> str | None:
        return None if path is None else _absolute(path)


class RunConfig(_Frozen):
    """A run. The same value gives the same run; it is saved with it as config.yaml."""

    preset: str | None = Field(default=None, description="The preset this began as; a note, without effect.")
    data: DataConfig | None = Field(default=None, description="The data set. A preset for any data set leaves it open.")
    model: ModelConfig = Field(default_factory=ModelConfig)
    optim: OptimConfig = Field(default_factory=OptimConfig)
    evaluation: EvalConfig = Field(default_factory=EvalConfig)
    epochs: int = Field(default=100, ge=1, description="Passes over the training nodes.")
    label_inputs: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the training labels each step has as inputs; 0: none."
    )
    label_reuse: int = Field(
        default=0, ge=0, description="With label_inputs: further passes, in which predictions stand for labels that are not shown."
    )
    loss: Loss = Field(
        default="cross_entropy", description="cross_entropy, or log: log(eps + cross entropy) - log(eps) (multiclass only)."
    )
    distillation: DistillationConfig | None = Field(default=None, description="A teacher to learn from; none by default.")
    parts: int = Field(default=1, ge=1, description="Parts the graph is cut into, anew each epoch; one optimiser step a part.")
    patience: int | None = Field(default=None, ge=1, description="Stop after so many epochs without a better validation score.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of weights, dropout and partitions.")
    device: Device = Field(default="auto", description="auto: cuda where there is one.")
    amp: Amp = Field(default="none", description="Precision of the forward pass in training.")
    capture: bool = Field(
        default=False,
        description="On cuda, replay the steps of training as one CUDA graph: for deep networks on a graph in one part.",
    )
    save_every: int = Field(default=1, ge=1, description="Epochs from one saved state to the next.")

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        if self.capture:
            self._check_capture()
        if self.label_reuse and not self.label_inputs:
            raise ValueError(
                f"label_reuse={self.label_reuse} puts predictions where labels are inputs: set label_inputs too, say to 0.5."
            )
        return self

    def _check_capture(self) -> None:
        """A recorded step is repeated as it was: same graph, no decision and no number of the host."""
        wrong = None
        if self.parts > 1:
            wrong = f"every step must have the same graph, got parts={self.parts}; set parts=1"
        elif self.label_inputs:
            wrong = "label_inputs picks other nodes in each step, on the host"
        elif self.model.family == "equilibrium":
            wrong = "an equilibrium is solved for until it converges, which the host decides"
        elif self.model.edge_dropout:
            wrong = "edge_dropout draws its seeds on the host; set model.edge_dropout=0"
        if wrong is not None:
            raise ValueError(f"capture repeats one recorded step: {wrong}, or leave capture off.")

    # --- reading ----------------------------------------------------------------------------------------------------

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> RunConfig:
        """From nested dictionaries.

        Raises:
            ConfigError: one line that names every bad key with its dotted path, and the nearest key there is.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(error, cls)) from None

    @classmethod
    def from_yaml(cls, path: Path | str) -> RunConfig:
        """From a YAML file, such as the config.yaml of a run.

        Raises:
            ConfigError: if it is not YAML or does not describe a run.
            OSError: if it cannot be read.
        """
        text = Path(path).read_text(encoding="utf-8")
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{path} must hold keys and values such as `epochs: 100`, got {type(values).__name__}.")
        try:
            return cls.parse(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    # --- changing ---------------------------------------------------------------------------------------------------

    def override(self, assignments: Iterable[str]) -> RunConfig:
        """A copy with dotted keys changed: `["model.depth=28", "optim.clip_norm=null"]`. Values are read as YAML.

        Raises:
            ConfigError: for an assignment without `=`, an unknown key or a bad value.
        """
        changes = {}
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            if not equals or not path.strip():
                raise ConfigError(f"a setting has the form KEY=VALUE, such as model.depth=28, got {assignment!r}.")
            changes[path.strip()] = _read_value(path, text)
        return self.replace(changes)

    def replace(self, changes: Mapping[str, Any]) -> RunConfig:
        """A copy with the values under dotted keys replaced, checked as a whole.

        Raises:
            ConfigError: for an unknown key or a bad value.
        """
        values = self.model_dump(mode="json")
        for path, value in changes.items():
            _assign(values, path.split("."), value)
        return RunConfig.parse(values)

    def with_data(self, name: str, root: str | None = None) -> RunConfig:
        """A copy for another data set. A preset's own options for its data set are dropped with it, its split is kept."""
        if self.data is not None and self.data.name == name:
            data = self.data.model_copy(update={"root": root or self.data.root})
        else:
            data = DataConfig(name=name, root=root, split=0 if self.data is None else self.data.split)
        return self.model_copy(update={"data": data})

    # --- comparing --------------------------------------------------------------------------------------------------

    def flat(self) -> dict[str, Any]:
        """Every value under its dotted key."""
        return dict(_flatten(self.model_dump(mode="json")))

    def differences(self, other: RunConfig) -> dict[str, tuple[Any, Any]]:
        """Keys that differ between two runs in a way that makes them different runs, with both values."""
        mine, theirs = self._identity(), other._identity()
        return {key: (mine.get(key), theirs.get(key)) for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)}

    @property
    def digest(self) -> str:
        """Hash of all that makes this run what it is; a checkpoint carries it."""
        return hashlib.sha256(json.dumps(self._identity(), sort_keys=True).encode()).hexdigest()[:16]

    def _identity(self) -> dict[str, Any]:
        free = FREE_ON_RESUME | {"preset"}
        if self.optim.schedule != "constant":  # the rate of every step depends on how many there are to be
            free -= {"epochs"}
        return {key: value for key, value in self.flat().items() if key not in free}


def _absolute(path: str) -> str:
    """So that a run finds what it names from any folder."""
    return str(Path(path).expanduser().absolute())


def _read_value(path: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"the value of {path} cannot be read: {text!r}; quote it if it is text.") from None


def _assign(values: dict[str, Any], path: list[str], value: Any) -> None:
    for depth, key in enumerate(path[:-1], start=1):
        inner = values.setdefault(key, {})
        if inner is None:
            inner = values[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(path[:depth])} is a single value and has no key {path[depth]!r}.")
        values = inner
    values[path[-1]] = value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
