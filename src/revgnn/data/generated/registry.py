"""Generated data sets by name: their generators, arguments and horizons."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from revgnn.data.dataset import NodeDataset
from revgnn.data.generated.horizon import Horizon
from revgnn.data.generated.ring import ring, ring_horizon
from revgnn.data.generated.road import road, road_horizon
from revgnn.data.generated.synthetic import generate
from revgnn.data.generated.tree import tree, tree_horizon

GENERATORS: dict[str, Callable[..., NodeDataset]] = {
    "synthetic": generate,
    "road-beacons": road,
    "ring-transfer": ring,
    "tree-match": tree,
}

_HORIZONS: dict[str, Callable[..., Horizon]] = {
    "road-beacons": road_horizon,
    "ring-transfer": ring_horizon,
    "tree-match": tree_horizon,
}


def generator_of(name: str) -> str | None:
    """Return the generator that a name such as `synthetic:nodes=4000` asks for; None if it asks for none."""
    head = name.partition(":")[0].casefold().replace("_", "-")
    return head if head in GENERATORS else None


def make(name: str) -> NodeDataset:
    """Return the data set that a name describes, under that name.

    Raises:
        ValueError: for an unknown argument, or one out of range.
    """
    head = generator_of(name)
    assert head is not None
    return replace(GENERATORS[head](**_arguments(name, head)), name=name)


def horizon_of(name: str) -> Horizon | None:
    """Return what a generated data set asks of a network; None for other data sets, and where no horizon is known.

    Raises:
        ValueError: see `make`.
    """
    head = generator_of(name)
    return None if head not in _HORIZONS else _HORIZONS[head](**_arguments(name, head))


def _arguments(name: str, head: str) -> dict[str, Any]:
    """Return `nodes=4000,degree=30` as keyword arguments of the generator."""
    parameters = inspect.signature(GENERATORS[head]).parameters
    kinds = {key.removeprefix("num_"): (key, type(p.default)) for key, p in parameters.items()}
    out: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in name.partition(":")[2].split(","))):
        key, _, value = item.partition("=")
        if key.strip() not in kinds:
            example = next(iter(kinds.values()))[0].removeprefix("num_")
            raise ValueError(f"{head} has no argument {key.strip()!r}; it has {', '.join(kinds)}, as in {head}:{example}=4000.")
        argument, kind = kinds[key.strip()]
        try:
            out[argument] = kind(value)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ValueError(f"{head}: {key.strip()} must be {wanted}, got {value!r}.") from None
    return out
