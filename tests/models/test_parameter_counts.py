"""Every row of every table has the number of parameters that it states, and that number follows from formulas.

That the stated numbers agree with the printed ones is tested with the tables.
"""

from __future__ import annotations

import pytest
import torch

from revgnn.data.catalogue import find_entry
from revgnn.experiments import Preset, all_presets
from revgnn.models import build_model, num_parameters
from revgnn.train.config import RunConfig

NUM_SPECIES = {"ogbn-proteins": 8, "ogbn-humanppi": 1}

PRESETS = {preset.name: preset for preset in all_presets() if preset.parameters is not None}


def of(data: str, *families: str) -> list[Preset]:
    """Presets for this data set, of these families if any are given."""
    presets = [preset for preset in PRESETS.values() if preset.run.data is not None and preset.run.data.name == data]
    return [preset for preset in presets if not families or preset.run.model.family in families]


def count(run: RunConfig, *, in_channels: int | None = None) -> int:
    """Parameters of the run's network on its data set."""
    assert run.data is not None
    data = find_entry(run.data.name)
    assert data is not None
    labels = data.num_outputs if run.label_inputs else 0
    with torch.device("meta"):  # no memory, no initial values: only sizes
        model = build_model(
            run.model,
            in_channels=data.num_features + labels if in_channels is None else in_channels,
            out_channels=data.num_outputs,
            num_edge_features=data.num_edge_features,
            num_species=NUM_SPECIES.get(data.name, 0),
        )
    return num_parameters(model)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_network_has_the_stated_number(preset: Preset) -> None:
    assert count(preset.run) == preset.parameters


# --- ogbn-proteins --------------------------------------------------------------------------------------------------------------


def block(D: int, c: int) -> int:
    """B(c): norm, edge linear, and the two linear layers of the MLP with the norm between."""
    return 2 * c + (D * c + c) + (2 * c * c + 2 * c) + 4 * c + (2 * c * c + c)


def rest(D: int) -> int:
    """R: node and edge encoders, head, last norm, species map."""
    return 17 * D + 9 * D + 112 * D + 112 + 2 * D + 72


@pytest.mark.parametrize("preset", of("ogbn-proteins"), ids=lambda preset: preset.name)
def test_formula_on_proteins(preset: Preset) -> None:
    """Residual networks and equilibria have no norm before their first convolution."""
    model = preset.run.model
    D, C = model.channels, model.groups
    blocks = 2 if model.tied or model.family == "equilibrium" else model.depth
    without_norm = 0 if model.family == "reversible" else 2 * D
    assert preset.parameters == blocks * C * block(D, D // C) + rest(D) - without_norm


TIED = [preset for preset in of("ogbn-proteins") if preset.run.model.tied]


@pytest.mark.parametrize("preset", TIED, ids=lambda preset: preset.name)
def test_both_weight_tied_units_have_the_published_number(preset: Preset) -> None:
    counts = [count(preset.run.replace({"model.unit": unit})) for unit in ("pair", "single")]
    assert counts == [preset.parameters, preset.parameters]


# --- ogbn-arxiv and ogbn-products -----------------------------------------------------------------------------------------------


def revgat(inputs: int, channels: int, depth: int, groups: int, classes: int) -> int:
    width = channels // groups
    inner = groups * (2 * width + 2 * width * width + width)  # norm; map and residual map; attention vectors
    return (2 * inputs + 1) * channels + (depth - 2) * inner + 2 * channels + (2 * channels + 1) * classes + classes


@pytest.mark.parametrize("preset", of("ogbn-arxiv", "revgat"), ids=lambda preset: preset.name)
def test_formula_of_revgat(preset: Preset) -> None:
    """128 features, and the labels as 40 more inputs."""
    model = preset.run.model
    assert preset.parameters == revgat(128 + 40, model.channels, model.depth, model.groups, 40)


def test_revgat_of_giant_xrt() -> None:
    """RevGAT with 2 layers on 768 features (arXiv:2111.00064), whose number of parameters is published too."""
    run = PRESETS["revgat"].run.replace({"model.depth": 2})
    assert count(run, in_channels=768 + 40) == revgat(768 + 40, 768, 2, 2, 40) == 1_304_912


@pytest.mark.parametrize("name", ["products-revgnn-112", "products-revgnn-7"])
def test_a_layer_norm_has_as_many_parameters_as_a_batch_norm(name: str) -> None:
    """The authors' example on ogbn-products has a layer norm."""
    assert count(PRESETS[name].run.replace({"model.norm": "layer"})) == PRESETS[name].parameters
