"""A run as one frozen value: what is trained, on what data, how, and for how long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from revgnn.models.config import ModelConfig
from revgnn.train.config.dotted import assign, flatten, read_assignment
from revgnn.train.config.errors import ConfigError, explain
from revgnn.train.config.sections import (
    TABLE_SETTINGS,
    Amp,
    DataConfig,
    DistillationConfig,
    EvalConfig,
    OptimConfig,
    Section,
    absolute,
    is_path,
)
from revgnn.train.config.yaml_text import read_yaml_text

Device = Literal["auto", "cpu", "cuda"]
Loss = Literal["cross_entropy", "log", "mse", "l1", "huber"]

FREE_ON_RESUME = frozenset({"epochs", "save_every", "data.root", "data.download", "data.archive", "capture"})
"""Keys that may change when a run is resumed. They alter how long it runs, where the data lies or how steps are launched, not what
a step computes."""

ALSO_FREE_ON_RESUME = frozenset({"patience"})
"""Likewise, but part of what makes two runs different: a digest has always had them."""

LATER_KEYS = {
    "model.degree_init": 0.0,
    "model.learn_degree": False,
    "model.clamp_power": False,
    "model.learn_message_scale": True,
    "class_weights": None,
    "data.metric": None,
    "graphs_per_batch": 32,
    "model.readout": "mean",
    "model.decoder": "mlp",
    "init": None,
    "model.block_init": "default",
    "model.stochastic_depth": 0.0,
    "parts_per_step": 1,
    "optim.reference_depth": None,
    "data.split_file": None,
}
"""Keys that were added after runs had been saved, with their defaults. At its default such a key is not part of a digest, so that
earlier runs can be resumed."""


class RunConfig(Section):
    """A run. The same value gives the same run. It is saved with the run as config.yaml."""

    preset: str | None = Field(default=None, description="The preset that the run is based on; a note without effect.")
    notes: tuple[str, ...] = Field(default=(), description="What preset auto chose and why, line by line; without effect.")
    data: DataConfig | None = Field(default=None, description="The data set. Presets for any data set do not set it.")
    model: SerializeAsAny[ModelConfig] = Field(default_factory=ModelConfig, description="The network.")
    optim: OptimConfig = Field(default_factory=OptimConfig, description="The optimiser.")
    evaluation: EvalConfig = Field(default_factory=EvalConfig, description="How a score is computed.")
    epochs: int = Field(default=100, ge=1, description="Passes over the training nodes.")
    label_inputs: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the training labels that each step has as inputs; 0: none."
    )
    label_reuse: int = Field(
        default=0,
        ge=0,
        description="Further passes with label_inputs, in which predictions replace the labels that are not inputs.",
    )
    loss: Loss | None = Field(
        default=None,
        description="Of classes: cross_entropy, or log: log(eps + cross entropy) - log(eps) (multiclass only). Of numbers: mse, l1 "
        "or huber. Default: the first.",
    )
    class_weights: Literal["balanced"] | tuple[float, ...] | None = Field(
        default=None,
        description="Weights in the loss. balanced: as if all classes were equally frequent; or a list: for each class; binary: of "
        "no and yes; several labels: of yes, for each label.",
    )
    distillation: DistillationConfig | None = Field(default=None, description="A teacher to learn from. Default: none.")
    init: str | None = Field(default=None, description="Folder of a run whose best weights training starts from. Default: none.")
    parts: int = Field(
        default=1, ge=1, description="Random parts that the graph is cut into, others in each epoch; one optimiser step per part."
    )
    parts_per_step: int = Field(
        default=1,
        ge=1,
        description="Parts (of data sets of graphs: batches) of one optimiser step: it has the loss of all their labelled nodes. "
        "Several processes share them.",
    )
    graphs_per_batch: int = Field(default=32, ge=1, description="For data sets of graphs: graphs in one optimiser step.")
    patience: int | None = Field(default=None, ge=1, description="Stop after this many epochs without a better validation score.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of weights, dropout and partitions.")
    device: Device = Field(default="auto", description="auto: cuda if there is such a device, else cpu.")
    amp: Amp = Field(default="none", description="Precision of the forward pass in training.")
    capture: bool = Field(
        default=False,
        description="On cuda, replay training steps as one CUDA graph. For deep networks on a graph in one part.",
    )
    save_every: int = Field(default=1, ge=1, description="Epochs from one saved state to the next.")

    @field_validator("init")
    @classmethod
    def _make_absolute(cls, path: str | None) -> str | None:
        return None if path is None else absolute(path)

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        if self.capture and (obstacle := self._capture_obstacle()):
            raise ValueError(f"capture repeats one recorded step: {obstacle}, or leave capture off.")
        if self.label_reuse and not self.label_inputs:
            raise ValueError(
                f"label_reuse={self.label_reuse} puts predictions where labels are inputs: set label_inputs too, for example "
                "to 0.5."
            )
        return self

    def _capture_obstacle(self) -> str | None:
        """Return why steps cannot be replayed: each has the same graph, and nothing that the host decides or draws."""
        if self.parts > 1:
            return f"every step must have the same graph, got parts={self.parts}; set parts=1"
        if self.label_inputs:
            return "label_inputs picks other nodes in each step, on the host"
        return self.model.capture_obstacle()

    # --- reading ----------------------------------------------------------------------------------------------------

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> RunConfig:
        """Return the run that nested dictionaries describe.

        Raises:
            ConfigError: one line that names every bad key with its dotted path, and the nearest known key.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(error, cls)) from None

    @classmethod
    def from_yaml(cls, path: Path | str) -> RunConfig:
        """Return the run that a YAML file describes, such as the config.yaml of a run.

        Raises:
            ConfigError: if it is not YAML or does not describe a run.
            OSError: if it cannot be read.
        """
        values = _read_yaml(Path(path))
        try:
            return cls.parse(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    def to_yaml(self) -> str:
        """Return all settings as YAML: of the network those that its family and its convolution have."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    # --- changing ---------------------------------------------------------------------------------------------------

    def override(self, assignments: Iterable[str]) -> RunConfig:
        """Return a copy with dotted keys changed: `["model.depth=28", "optim.clip_norm=null"]`. Values are read as YAML.

        Raises:
            ConfigError: for an assignment without `=`, an unknown key or a bad value.
        """
        return self.replace(dict(map(read_assignment, assignments)))

    def replace(self, changes: Mapping[str, Any]) -> RunConfig:
        """Return a copy with the values under dotted keys replaced, checked as a whole.

        A network of another family or convolution takes over every setting, also those that the old one does not have.

        Raises:
            ConfigError: for an unknown key or a bad value.
        """
        values = self._complete()
        for key, value in changes.items():
            assign(values, key, value)
        return RunConfig.parse(values)

    def with_data(self, name: str, root: str | None = None) -> RunConfig:
        """Return a copy for another data set. The options of the old data set are dropped, except its split."""
        if self.data is not None and self.data.name == name:
            data = self.data.model_copy(update={"root": root or self.data.root})
        else:
            data = DataConfig(name=name, root=root, split=0 if self.data is None else self.data.split)
        return self.model_copy(update={"data": data})

    def with_data_at(
        self, data: Path | str | None = None, root: Path | str | None = None, node_features: Path | str | None = None
    ) -> RunConfig:
        """Return a copy that looks for its data elsewhere. What is given wins over the stored paths, None keeps them.

        Args:
            data: the file or folder of the data set, or its name.
            root: the folder that holds the data. If it holds a file or folder named like the stored path, that one is used.
            node_features: the file of `data.node_features`.
        """
        if self.data is None:
            return self
        changes: dict[str, str] = {}
        if root is not None:
            changes["data.root"] = absolute(root)
            for key in ("name", "split_file", "node_features", "label_file"):
                stored = getattr(self.data, key)
                if stored is not None and is_path(stored) and (moved := Path(absolute(root)) / Path(stored).name).exists():
                    changes[f"data.{key}"] = str(moved)
        if data is not None:
            changes["data.name"] = absolute(data) if is_path(str(data)) or Path(data).exists() else str(data)
        if node_features is not None:
            changes["data.node_features"] = absolute(node_features)
        return self.replace(changes)

    def _complete(self) -> dict[str, Any]:
        """Return all settings in nested dictionaries, with those that the network's family does not have."""
        return {**self.model_dump(mode="json"), "model": self.model.flat()}

    # --- comparing --------------------------------------------------------------------------------------------------

    def flat(self) -> dict[str, Any]:
        """Return every value under its dotted key. Networks have the keys of all families, see `ModelConfig.flat`."""
        return dict(flatten(self._complete()))

    def differences(self, other: RunConfig, *, paths: bool = False) -> dict[str, tuple[Any, Any]]:
        """Return the keys that make two runs different, with both values.

        Args:
            paths: whether the paths of files with data count. By default they do not: files move, and a run knows their content.
        """
        identity = _identity_with_paths if paths else _identity
        settings, others = self.flat(), other.flat()
        ours, theirs = identity(settings), identity(others)
        changed = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        # the number of epochs is part of one run and not of another, according to its schedule
        return {key: (ours.get(key), theirs.get(key)) for key in changed if settings.get(key) != others.get(key)}

    @property
    def digest(self) -> str:
        """Hash of all values that make this run different from others. The saved state of a run carries it."""
        return _digest(_identity(self.flat()))


def earlier_digests(path: Path) -> set[str]:
    """Return the digests that saved states of earlier versions may carry, for the config.yaml at `path`.

    Raises:
        OSError, ConfigError: if the file cannot be read.
    """
    saved = RunConfig.from_yaml(path)
    # The last is that of this version: a resumed run may have another patience than the saved one.
    return {digest_as_written(path), _digest(_identity_with_paths(saved.flat())), saved.digest}


def digest_as_written(path: Path) -> str:
    """Return the digest of a config.yaml as it is written, with keys that have no effect on its network.

    The states that revgnn saved before each family had its own configuration carry this digest.

    Raises:
        OSError, ConfigError: if the file cannot be read.
    """
    return _digest(_identity_with_paths(dict(flatten(_read_yaml(path)))))


def _digest(identity: Mapping[str, Any]) -> str:
    identity = {key: value for key, value in identity.items() if key not in LATER_KEYS or value != LATER_KEYS[key]}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _identity(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return `_identity_with_paths` with "a path" for the paths of data: where a file lies makes no other run."""
    identity = _identity_with_paths(flat)
    for key in ("data.name", "data.split_file", "data.node_features", "data.edges", "data.graph_file", "data.label_file"):
        if isinstance(value := identity.get(key), str) and is_path(value):
            identity[key] = "a path"
    return identity


def _identity_with_paths(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat settings without those that may change when a run is resumed."""
    free = FREE_ON_RESUME | {"preset", "notes"}
    if flat.get("optim.schedule", "constant") != "constant":  # the learning rate of each step depends on the number of epochs
        free -= {"epochs"}
    # A run without settings of tables has the digest that it had before tables could be read.
    unset = {f"data.{name}" for name in TABLE_SETTINGS if flat.get(f"data.{name}") is None}
    identity = {key: value for key, value in flat.items() if key not in free | unset}
    if identity.get("loss", "") is None:  # the default of every task that runs had before it could be left out
        identity["loss"] = "cross_entropy"
    return identity


def _read_yaml(path: Path) -> dict[str, Any]:
    values = read_yaml_text(path.read_bytes(), str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold keys and values such as `epochs: 100`, got {type(values).__name__}.")
    return values
