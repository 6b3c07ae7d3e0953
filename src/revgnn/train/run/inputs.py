"""What a network takes and returns, kept in the note of its weights, so that it can be used without the data it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from revgnn.data import NodeDataset
from revgnn.data.feature_scale import FeatureScale


@dataclass(frozen=True)
class Inputs:
    """The inputs and outputs of a trained network.

    Attributes:
        task, num_outputs, metric, task_names: as in `NodeDataset`.
        in_channels, num_edge_features, num_species: as in `NodeDataset`.
        scale: how features of nodes are scaled; None: they are used as they are.
        row: what has the labels: "node", "graph" or "pair".
    """

    task: str
    num_outputs: int
    metric: str
    task_names: tuple[str, ...] | None
    in_channels: int
    num_edge_features: int
    num_species: int
    scale: FeatureScale | None
    row: str = "node"

    @classmethod
    def of(cls, dataset: NodeDataset) -> Inputs:
        """Return what a network for this data set takes and returns."""
        return cls(
            dataset.task,
            dataset.num_outputs,
            dataset.metric,
            dataset.task_names,
            dataset.in_channels,
            dataset.num_edge_features,
            dataset.num_species,
            dataset.feature_scale,
            dataset.row,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return all as JSON values. Numbers of the scale are exact."""
        scale = None
        if self.scale is not None:
            scale = {"how": self.scale.how, **{name: values.tolist() for name, values in self.scale.tensors().items()}}
        names = None if self.task_names is None else list(self.task_names)
        return {**vars(self), "task_names": names, "scale": scale}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Inputs:
        """Return what `as_dict` described; `where` names its origin.

        Raises:
            ValueError: if it is damaged.
        """
        try:
            scale, names = values["scale"], values["task_names"]
            if scale is not None:
                fitted = {name: torch.tensor(numbers) for name, numbers in scale.items() if name != "how"}
                scale = FeatureScale.from_tensors(scale["how"], fitted)
            return cls(**{**values, "scale": scale, "task_names": None if names is None else tuple(names)})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{where} is damaged: its note of inputs cannot be read ({error}).") from None
