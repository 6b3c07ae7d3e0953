"""Configurations of networks: one class per family and per convolution, read from flat settings and written as such."""

from __future__ import annotations

import copy
import pickle
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from revgnn.models.config import (
    Conv,
    EquilibriumConfig,
    Family,
    GATConfig,
    GCNConfig,
    GENConfig,
    ModelConfig,
    ResidualConfig,
    ReversibleConfig,
    RevGATConfig,
    SAGEConfig,
    all_settings,
)
from revgnn.train.config import ConfigError, RunConfig

CONFIGS = [
    ({}, ReversibleConfig, GENConfig),
    ({"family": "reversible", "tied": True, "conv": "gcn"}, ReversibleConfig, GCNConfig),
    ({"family": "residual", "conv": "sage", "aggregation": "sum"}, ResidualConfig, SAGEConfig),
    ({"family": "residual", "conv": "gat", "heads": 4}, ResidualConfig, GATConfig),
    ({"family": "equilibrium", "solver": {"method": "broyden"}}, EquilibriumConfig, GENConfig),
    ({"family": "revgat", "groups": 1, "heads": 2}, RevGATConfig, GATConfig),
]


@pytest.mark.parametrize(("settings", "family", "convolution"), CONFIGS, ids=lambda v: v.__name__ if isinstance(v, type) else "")
def test_flat_settings_make_the_class_of_their_family(settings: dict, family: type, convolution: type) -> None:
    config = ModelConfig(**settings)
    assert type(config) is family
    assert isinstance(config.convolution, convolution)
    for again in (
        ModelConfig.model_validate(config.model_dump(mode="json")),
        ModelConfig.model_validate(config.flat()),
        RunConfig.parse({"model": config.flat()}).model,
        config.model_copy(),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),  # noqa: S301  (our own bytes)
    ):
        assert again == config
        assert type(again) is family


def test_every_family_and_convolution_has_a_class() -> None:
    assert ModelConfig.FAMILIES.keys() == set(get_args(Family))
    for conv in get_args(Conv):
        assert ModelConfig(conv=conv, aggregation="mean").conv == conv


def test_only_the_settings_of_family_and_convolution_are_written() -> None:
    written = ModelConfig(family="residual", conv="gcn").model_dump()
    assert not {"groups", "segments", "solver", "heads", "aggregation", "convolution"} & written.keys()
    assert list(written)[:5] == ["family", "tied", "unit", "depth", "channels"]
    assert ModelConfig(family="revgat").flat().keys() == ModelConfig(family="equilibrium").flat().keys() == all_settings().keys()


def test_settings_of_others_are_ignored() -> None:
    assert ModelConfig(family="residual", groups=4, segments=2) == ModelConfig(family="residual")
    assert ModelConfig(conv="gcn", aggregation="softmax", mlp_layers=3) == ModelConfig(conv="gcn")
    assert ModelConfig(family="equilibrium", shared_dropout=False) == ModelConfig(family="equilibrium")


def test_every_setting_has_a_description() -> None:
    for name, setting in all_settings().items():
        assert setting.description, name


@pytest.mark.parametrize(
    ("model", "strategy"),
    [
        ({"family": "residual"}, "checkpoint"),
        ({"family": "reversible"}, "reversible"),
        ({"family": "reversible", "gradient": "backprop"}, "backprop"),
        ({"family": "revgat"}, "reversible"),
        ({"family": "revgat", "groups": 1}, "checkpoint"),
        ({"family": "equilibrium"}, "implicit"),
        ({"family": "equilibrium", "solver": {"gradient": "phantom"}}, "phantom"),
        ({"family": "equilibrium", "solver": {"method": "reversible"}}, "reversible"),
        ({"family": "equilibrium", "gradient": "backprop"}, "backprop"),
    ],
    ids=str,
)
def test_the_gradient_strategy(model: dict[str, Any], strategy: str) -> None:
    assert ModelConfig(**model).effective_gradient == strategy


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"family": "rev"}, "model.family: input should be 'residual', 'reversible', 'equilibrium' or 'revgat', got 'rev'"),
        ({"conv": "gin"}, "model.conv: input should be 'gen', 'gcn', 'sage' or 'gat', got 'gin'"),
        ({"conv": ["gen"]}, "model.conv: input should be 'gen', 'gcn', 'sage' or 'gat', got ['gen']"),
        ({"mlp_layers": 0}, "model.mlp_layers: input should be greater than or equal to 1, got 0"),
        ({"mlp_layers": 0, "depth": 0}, "model.depth: input should be greater than or equal to 1, got 0; model.mlp_layers: "),
        ({"conv": "sage"}, "model: sage aggregates by mean or sum: set aggregation to one of them, got none"),
        ({"family": "residual", "head": 3}, "unknown key model.head; did you mean model.heads"),
        ({"family": "equilibrium", "solver": {"rtoll": 1}}, "unknown key model.solver.rtoll; did you mean model.solver.rtol"),
        ({"family": "residual", "solver": {}}, "model: a residual model is not solved for: leave solver out"),
        (3, "model: input should be a valid dictionary or instance of ModelConfig, got 3"),
    ],
    ids=str,
)
def test_mistakes_are_named_by_the_key_that_the_user_wrote(model: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse({"model": model})
    assert message in str(caught.value)


def test_an_unknown_family_is_refused_by_the_constructor() -> None:
    with pytest.raises(ValidationError, match="'residual', 'reversible', 'equilibrium' or 'revgat'"):
        ModelConfig(family="rev")
