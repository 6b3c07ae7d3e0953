"""Laws of the cache: whatever happens to its files, the data set that comes out is the one that was read."""

from __future__ import annotations

import json
import logging
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st

from revgnn.data import NodeDataset, cached, read_npz
from revgnn.data.cache import sealed
from revgnn.ops import Sum, aggregate
from tests.properties.damage import STRUCTURAL, Damage, damages
from tests.properties.datasets import Recipe, difference, recipes, write_npz
from tests.properties.laws import expect, law


class Cached:
    """A data set and its cache in a folder."""

    def __init__(self, folder: Path, recipe: Recipe, storage: str) -> None:
        self.root = folder / "cache"
        self.source = folder / "own.npz"
        write_npz(self.source, recipe)
        dataset = read_npz(self.source)
        self.wanted = replace(dataset, graph=dataset.graph.compressed(storage)) if storage != "float32" else dataset  # type: ignore[arg-type]
        self.reads = 0
        self.open()

    def open(self) -> NodeDataset:
        def read() -> NodeDataset:
            self.reads += 1
            return self.wanted

        return cached(read, self.source, [self.source], {}, root=self.root)

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.is_file())

    def check(self, what: str) -> None:
        """Assert that the set comes out as it went in, and can be used."""
        found = self.open()
        changed = difference(found, self.wanted)
        expect(changed is None, f"{what}: {changed}")
        use(found)


def use(dataset: NodeDataset) -> None:
    """Read every array to its end, through kernels."""
    graph = dataset.graph
    x = torch.ones(graph.num_nodes, 7)
    attr = graph.edge_features(torch.float32)
    weight = None if attr is None else torch.ones(attr.shape[1], 7)
    aggregate(x, graph, attr, weight, how=Sum())
    for split in dataset.splits:
        dataset.y[torch.cat([split.train, split.valid, split.test])].sum()
    if dataset.x is not None:
        dataset.x.sum()


@contextmanager
def small_sets_are_cached(*, settled: bool) -> Iterator[None]:
    """`settled`: files count as old enough for a note that they were verified."""
    import time

    now = time.time_ns
    later: Callable[[], int] = (lambda: now() + 10**11) if settled else now
    logging.getLogger("revgnn.data").setLevel(logging.ERROR)
    with mock.patch("revgnn.data.cache.MIN_BYTES", 0), mock.patch("time.time_ns", later):
        yield


storages = st.sampled_from(["float32", "float16", "bfloat16"])


@law(cases=4, recipe=recipes, storage=storages, settled=st.booleans())
def test_a_set_from_the_cache_is_the_set_that_was_read(recipe: Recipe, storage: str, settled: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, small_sets_are_cached(settled=settled):
        kept = Cached(Path(folder), recipe, storage)
        for opening in ("first", "second"):
            kept.check(f"the {opening} opening")
        expect(kept.reads == 1, f"read {kept.reads} times")


HEADER = 128
"""Bytes of an array's file that say its type and shape."""


@law(cases=9, recipe=recipes, storage=storages, settled=st.booleans(), damage=damages(), which=st.integers(0, 30))
def test_damaged_arrays_are_noticed(recipe: Recipe, storage: str, settled: bool, damage: Damage, which: int) -> None:
    check_damage(recipe, storage, settled, damage, which, lambda file: file.suffix == ".npy", lambda size: range(HEADER, size))


@law(
    cases=18,
    recipe=recipes,
    storage=storages,
    settled=st.booleans(),
    damage=damages() | damages("byte", values=st.sampled_from(b"([{")),
    which=st.integers(0, 30),
)
def test_damaged_headers_of_arrays_are_noticed(recipe: Recipe, storage: str, settled: bool, damage: Damage, which: int) -> None:
    check_damage(recipe, storage, settled, damage, which, lambda file: file.suffix == ".npy", lambda size: range(HEADER))


@law(cases=6, recipe=recipes, storage=storages, settled=st.booleans(), damage=damages(*STRUCTURAL))
def test_a_manifest_cut_or_grown_is_noticed(recipe: Recipe, storage: str, settled: bool, damage: Damage) -> None:
    check_damage(recipe, storage, settled, damage, 0, lambda file: file.name == "manifest.json", range)


@law(cases=4, recipe=recipes, storage=storages, damage=damages())
def test_a_damaged_note_of_verification_is_noticed(recipe: Recipe, storage: str, damage: Damage) -> None:
    check_damage(recipe, storage, True, damage, 0, lambda file: file.name == "verified.json", range)


def check_damage(
    recipe: Recipe,
    storage: str,
    settled: bool,
    damage: Damage,
    which: int,
    is_meant: Callable[[Path], bool],
    places: Callable[[int], range],
) -> None:
    with tempfile.TemporaryDirectory() as folder, small_sets_are_cached(settled=settled):
        kept = Cached(Path(folder), recipe, storage)
        kept.open()
        files = [file for file in kept.files if is_meant(file)]
        assume(files)
        file = files[which % len(files)]
        within = places(file.stat().st_size)
        assume(within)
        damage.apply(file, within)
        kept.check(f"{file.name} is damaged")
        kept.check("once more")


@pytest.mark.parametrize("change", ["gone", "a folder", "another's", "fewer bytes"])
@law(cases=2, recipe=recipes, which=st.integers(0, 30))
def test_a_cache_with_files_missing_or_mixed_up_is_rebuilt(change: str, recipe: Recipe, which: int) -> None:
    with tempfile.TemporaryDirectory() as folder, small_sets_are_cached(settled=True):
        kept = Cached(Path(folder), recipe, "float32")
        kept.open()
        file = kept.files[which % len(kept.files)]
        other = kept.files[(which + 1) % len(kept.files)]
        if change == "another's":
            file.write_bytes(other.read_bytes())
        elif change == "fewer bytes":
            file.write_bytes(file.read_bytes()[:-1])
        else:
            file.unlink()
        if change == "a folder":
            file.mkdir()
        kept.check(f"{file.name} is {change}")


JUNK: list[Any] = [None, 0, -1, 1.5, True, "x", [], {}, [[]], {"a": {}}, 2**80, "../../etc/passwd", [None], float("nan")]


def places(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a JSON tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (*at, key)
        yield from places(value, (*at, key))


@pytest.mark.parametrize("seal", [False, True], ids=["as it is", "with its checksum"])
@pytest.mark.parametrize("change", ["replaced", "removed"])
@law(cases=8, recipe=recipes, storage=storages, settled=st.booleans(), pick=st.integers(0, 10_000), junk=st.sampled_from(JUNK))
def test_a_manifest_with_strange_values_is_noticed(
    change: str, seal: bool, recipe: Recipe, storage: str, settled: bool, pick: int, junk: Any
) -> None:
    """With a checksum that is right again, those of what describes the files and the arrays."""
    with tempfile.TemporaryDirectory() as folder, small_sets_are_cached(settled=settled):
        kept = Cached(Path(folder), recipe, storage)
        (manifest,) = kept.root.rglob("manifest.json")
        tree = json.loads(manifest.read_text())
        hidden = ("fields", "edges", "num_splits", "crc32")
        ways = [way for way in places(tree) if not seal or (way[0] not in hidden and way[:-1] != ("arrays",))]
        *way, last = ways[pick % len(ways)]
        place = tree
        for key in way:
            place = place[key]
        if change == "removed":
            del place[last]
        else:
            assume(type(place[last]) is not type(junk) or place[last] != junk)
            place[last] = junk
        manifest.write_text(json.dumps(sealed(tree) if seal else tree))
        kept.check(f"{'.'.join(map(str, [*way, last]))} is {change} by {junk!r}")


PLAUSIBLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "number of outputs": lambda tree: tree["fields"].update(num_outputs=tree["fields"]["num_outputs"] + 1),
    "number of species": lambda tree: tree["fields"].update(num_species=tree["fields"]["num_species"] + 1),
    "licence": lambda tree: tree["fields"].update(licence="MIT"),
    "scale of the edge features": lambda tree: tree["edges"].update(scale=0.5),
    "features left out": lambda tree: tree["arrays"].pop("edge_attr"),
    "a split less": lambda tree: tree.update(num_splits=tree["num_splits"] - 1),
}


@pytest.mark.parametrize("value", PLAUSIBLE)
@law(cases=4, recipe=recipes, settled=st.booleans())
def test_a_manifest_with_another_value_is_noticed(value: str, recipe: Recipe, settled: bool) -> None:
    recipe = Recipe(**{**vars(recipe), "edge_features": 2, "species": True, "splits": 3, "task": "multiclass"})
    with tempfile.TemporaryDirectory() as folder, small_sets_are_cached(settled=settled):
        kept = Cached(Path(folder), recipe, "float32")
        (manifest,) = kept.root.rglob("manifest.json")
        tree = json.loads(manifest.read_text())
        PLAUSIBLE[value](tree)
        manifest.write_text(json.dumps(tree))
        kept.check(value)


@law(cases=4, recipe=recipes, depth=st.integers(900, 100_000), kind=st.sampled_from(["[", '{"a":']))
def test_a_manifest_that_nests_is_noticed(recipe: Recipe, depth: int, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder, small_sets_are_cached(settled=True):
        kept = Cached(Path(folder), recipe, "float32")
        (manifest,) = kept.root.rglob("manifest.json")
        manifest.write_text(kind * depth)
        kept.check("the manifest nests")


FORGED = ["indptr", "src", "edge_attr", "x", "y", "train_0", "test_0", "species"]


@pytest.mark.parametrize("array", FORGED)
@law(
    cases=2,
    recipe=recipes,
    change=st.sampled_from(["fewer rows", "no rows", "more rows", "wider", "float64", "int32", "int8", "far"]),
)
def test_arrays_that_do_not_fit_together_reach_no_kernel(array: str, recipe: Recipe, change: str) -> None:
    """The manifest agrees with the arrays, down to the checksum: as after a crash of a program that rewrites both."""
    recipe = Recipe(**{**vars(recipe), "features": True, "edge_features": 2, "species": True, "edges": max(20, recipe.edges)})
    with tempfile.TemporaryDirectory() as folder, small_sets_are_cached(settled=False):
        kept = Cached(Path(folder), recipe, "float32")
        (manifest,) = kept.root.rglob("manifest.json")
        tree = json.loads(manifest.read_text())
        file = manifest.with_name(f"{array}.npy")
        values = np.load(file)
        values = {
            "fewer rows": lambda: values[: len(values) // 2],
            "no rows": lambda: values[:0],
            "more rows": lambda: np.concatenate([values, values]),
            "wider": lambda: np.stack([values, values], axis=-1),
            "float64": lambda: values.astype(np.float64),
            "int32": lambda: values.astype(np.int32),
            "int8": lambda: values.astype(np.int8),
            "far": lambda: np.where(np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1)) % 3 == 1, 2**30, values).astype(
                values.dtype
            ),
        }[change]()
        np.save(file, values)
        about = {
            "dtype": values.dtype.str,
            "shape": values.shape,
            "crc32": [zlib.crc32(np.ascontiguousarray(values).tobytes())][: values.nbytes],
        }
        assume(
            about["dtype"] != tree["arrays"][array]["dtype"]
            or list(values.shape) != tree["arrays"][array]["shape"]
            or change == "far"
        )
        tree["arrays"][array] = about
        manifest.write_text(json.dumps(sealed(tree)))
        found = kept.open()
    graph = found.graph
    expect(graph.edge_attr is None or len(graph.edge_attr) == graph.num_edges, f"{graph.num_edges} edges have other features")
    expect(
        graph.edge_attr is None or graph.edge_attr.is_floating_point() or graph.edge_attr.dtype == torch.int16,
        "features of another kind",
    )
    use(found)
