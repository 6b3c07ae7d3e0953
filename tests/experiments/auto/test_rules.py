"""`--preset auto`: rules by properties, each on profiles of its own; a choice is always a run that can be built."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from revgnn.experiments.auto import rules
from revgnn.experiments.auto.choice import RULES, choose
from revgnn.experiments.auto.profile import GraphProfile
from revgnn.models import build_model
from revgnn.train.config import DataConfig

PLAIN = GraphProfile(
    num_nodes=10_000,
    num_edges=80_000,
    mean_degree=8.0,
    max_degree=40,
    eccentricity=12,
    num_features=30,
    feature_kind="mixed",
    filled=0.9,
    uneven=3.0,
    num_edge_features=0,
    task="binary",
    num_outputs=1,
    num_train=5_000,
    homophily=0.01,
)
FEW = replace(
    PLAIN,
    task="multiclass",
    num_outputs=7,
    num_train=140,
    homophily=None,
    feature_kind="words",
    num_features=1_400,
    filled=0.01,
)
ALIKE = replace(FEW, num_train=6_000, homophily=0.7)
WORDS = replace(ALIKE, homophily=0.01, mean_degree=42.0)
EDGES = replace(PLAIN, num_edge_features=4, task="multilabel", num_outputs=12, num_features=4, uneven=500.0, homophily=0.05)
BARE = replace(PLAIN, num_features=1, homophily=0.05)
DENSE = replace(PLAIN, mean_degree=88.0)
FAR = replace(PLAIN, eccentricity=99, feature_kind="flags", num_features=7)
PROFILES = {"plain": PLAIN, "few": FEW, "alike": ALIKE, "words": WORDS, "edges": EDGES, "far": FAR, "dense": DENSE, "bare": BARE}


def changes(profile: GraphProfile) -> dict[str, object]:
    return dict(choose(profile).changes)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (PLAIN, "sparse"),
        (FEW, "few labels"),
        (ALIKE, "alike"),
        (WORDS, "words"),
        (EDGES, "edge features"),
        (FAR, "far"),
        (DENSE, "dense"),
        (BARE, "bare"),
    ],
    ids=PROFILES,
)
def test_the_regime(profile: GraphProfile, expected: str) -> None:
    assert rules.regime(profile) == expected


def test_the_regime_at_its_limits() -> None:
    assert rules.regime(replace(FEW, num_train=7 * rules.FEW_PER_CLASS, homophily=None)) != "few labels"
    assert rules.regime(replace(FEW, num_nodes=500)) != "few labels"  # few, but a large share of the nodes
    assert rules.regime(replace(PLAIN, homophily=rules.HOMOPHILOUS)) == "alike"
    assert rules.regime(replace(WORDS, mean_degree=rules.DENSE - 1)) == "sparse"
    assert rules.regime(replace(PLAIN, eccentricity=rules.FAR)) == "far"
    assert rules.regime(replace(PLAIN, eccentricity=None)) == "sparse"


def test_convolution() -> None:
    assert changes(FEW)["model.conv"] == changes(ALIKE)["model.conv"] == changes(WORDS)["model.conv"] == "gcn"
    assert changes(PLAIN)["model.conv"] == changes(FAR)["model.conv"] == "sage"
    assert (changes(DENSE)["model.conv"], changes(DENSE)["model.aggregation"]) == ("gen", "max")
    for profile in PROFILES.values():
        given = changes(replace(profile, num_edge_features=2))
        assert given["model.conv"] == "gen"  # no other reads edge features
        assert "data.self_loops" not in given  # they would have no features


def test_norm_and_depth() -> None:
    assert {changes(p)["model.norm"] for p in (PLAIN, WORDS, FAR, BARE)} == {"batch"}
    assert {changes(p)["model.norm"] for p in (EDGES, ALIKE, DENSE)} == {"layer"}
    assert changes(FEW)["model.norm"] == "none"
    depths = [changes(p)["model.depth"] for p in (FEW, ALIKE, PLAIN, FAR)]
    assert depths == sorted(depths)


def test_width_and_dropout() -> None:
    assert changes(PLAIN)["model.channels"] < changes(ALIKE)["model.channels"] == changes(WORDS)["model.channels"]
    assert changes(PLAIN)["model.dropout"] < changes(ALIKE)["model.dropout"] < changes(WORDS)["model.dropout"]
    assert changes(replace(PLAIN, num_train=900))["model.dropout"] == 0.5
    assert changes(replace(PLAIN, num_features=300))["model.dropout"] > changes(PLAIN)["model.dropout"]
    assert changes(FEW)["model.input_dropout"] > changes(replace(FEW, feature_kind="mixed"))["model.input_dropout"]


def test_scaling() -> None:
    kinds = {"none": "raw", "encoded": "raw", "flags": "raw", "mixed": "standard"}
    assert {kind: changes(replace(PLAIN, feature_kind=kind))["data.features"] for kind in kinds} == kinds
    assert changes(FEW)["data.features"] == "rows"
    assert changes(replace(FEW, filled=0.3))["data.features"] == "raw"  # long texts
    assert changes(WORDS)["data.features"] == "raw"
    assert changes(EDGES)["data.features"] == "log"


def test_labels_are_inputs_where_edges_carry_them() -> None:
    assert changes(EDGES)["label_inputs"] == changes(BARE)["label_inputs"] == 0.5
    assert changes(PLAIN)["label_inputs"] == 0.0  # not carried
    assert changes(replace(EDGES, homophily=None))["label_inputs"] == 0.0
    assert changes(ALIKE)["label_inputs"] == 0.0  # the features say more
    assert changes(replace(EDGES, num_train=1_000))["label_inputs"] == 0.0  # few have one


def test_epochs_fall_and_parts_grow_with_the_edges() -> None:
    sizes = (80_000, 8_000_000, 80_000_000, 800_000_000)
    chosen = [changes(replace(PLAIN, num_edges=size)) for size in sizes]
    assert [c["epochs"] for c in chosen] == sorted((c["epochs"] for c in chosen), reverse=True)
    assert [c["parts"] for c in chosen] == sorted(c["parts"] for c in chosen)
    assert chosen[0]["parts"] == 1
    assert all(c["patience"] < c["epochs"] for c in chosen)


VARIANTS = {
    "feature_kind": ("none", "flags", "words", "mixed", "encoded"),
    "num_edge_features": (0, 3),
    "homophily": (None, -0.1, 0.1, 0.9),
    "num_train": (20, 3_000),
    "eccentricity": (None, 5, 500),
    "mean_degree": (2.0, 50.0),
}


@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 40), ("multilabel", 9)])
def test_every_choice_is_a_run(task: str, outputs: int) -> None:
    """Each combination of properties gives a whole configuration in ten lines, and each key is set once."""
    built = set()
    for values in itertools.product(*VARIANTS.values()):
        profile = replace(PLAIN, task=task, num_outputs=outputs, **dict(zip(VARIANTS, values, strict=True)))
        choice = choose(profile)
        assert len(choice.lines()) == len(RULES) + 1 == 10
        keys = [key for decision in choice.decisions for key in decision.changes]
        assert len(keys) == len(set(keys))
        run = choice.for_data(DataConfig(name="a.npz"))
        assert (run.preset, run.notes) == ("auto", choice.lines())
        built.add(run.model)
    for model in built:
        build_model(model, in_channels=3, out_channels=outputs, num_edge_features=2)
