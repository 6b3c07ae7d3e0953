"""Laws of the readers: what a file says is what comes out, and a damaged file is refused by name or gives the same data."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st

from revgnn.data import NodeDataset, load, read_npz, save_npz
from tests.properties.damage import Damage, damages, read_or_refuse
from tests.properties.datasets import NAMES, WRITERS, Recipe, difference, recipes, write_npz
from tests.properties.laws import expect, known_fault, law


def read_all(layout: str, folder: Path) -> NodeDataset:
    return load(NAMES[layout], folder, cache=False)


# --- files as they should be ------------------------------------------------------------------------------------------------------


@law(cases=60, recipe=recipes)
def test_a_saved_set_is_read_back(recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.npz"
        write_npz(path, recipe)
        first = read_npz(path)
        save_npz(first, path)
        changed = difference(read_npz(path), first)
    expect(changed is None, changed)


@pytest.mark.parametrize("layout", ["ogb csv", "ogb binary"])
@law(cases=20, recipe=recipes)
def test_ogb_and_npz_files_of_one_set_are_read_alike(layout: str, recipe: Recipe) -> None:
    recipe = Recipe(**{**vars(recipe), "splits": 1})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        WRITERS[layout](folder, recipe)
        WRITERS["npz"](folder, recipe)
        ours, plain = read_all(layout, folder), read_npz(folder / "own.npz")
    for field in ("indptr", "src"):
        expect(torch.equal(getattr(ours.graph, field), getattr(plain.graph, field)), field)
    close = dict(rtol=1e-4, atol=1e-5)  # a csv has six digits
    for field in ("x", "species", "y"):
        one, other = getattr(ours, field), getattr(plain, field)
        if field == "x" and not recipe.features:  # made of edge features or degrees
            expect(one.shape == other.shape, "x")
        elif one is not None or other is not None:
            expect(torch.allclose(one.double(), other.double(), equal_nan=True, **close), f"{field}: {one} and {other}")
    for part in ("train", "valid", "test"):
        expect(torch.equal(getattr(ours.split, part), getattr(plain.split, part)), part)


INTEGERS = ["<i8", "<i4", "<i2", "<u8", "<u4", "<u2", "|i1", "|u1"]
SWAPPED_SIGNED = [">i8", ">i4", ">i2"]
SWAPPED = [*SWAPPED_SIGNED, ">u8", ">u4", ">u2"]
FLOATS = ["<f4", "<f8", ">f4", ">f8", "<f2"]
ORDERS = ["C", "F", "strided"]


def stored(array: np.ndarray, dtype: str, order: str) -> np.ndarray:
    """The same numbers, as another program may have them."""
    array = array.astype(dtype)
    if order == "strided":
        return np.repeat(array, 2, axis=0)[::2]
    return np.asarray(array, order=order)  # type: ignore[call-overload]


@pytest.mark.parametrize("edges", [
    *INTEGERS, ">u8", ">u4", ">u2",
    *(pytest.param(dtype, marks=known_fault("edges of another byte order end in an error of numba")) for dtype in SWAPPED_SIGNED),
])  # fmt: skip
@law(
    cases=6,
    recipe=recipes,
    labels=st.sampled_from([*INTEGERS, *SWAPPED]),
    numbers=st.sampled_from(FLOATS),
    order=st.sampled_from(ORDERS),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0)]),
)
def test_no_way_to_store_numbers_changes_them(
    edges: str, recipe: Recipe, labels: str, numbers: str, order: str, version: tuple[int, int]
) -> None:
    recipe = Recipe(**{**vars(recipe), "unlabelled": recipe.unlabelled and labels[1] == "i"})
    plain = recipe.arrays()
    if numbers == "<f2":
        plain |= {k: plain[k].astype(np.float16).astype(np.float32) for k in ("x", "edge_attr") if k in plain}
    other = {"edge_index": edges, "y": numbers if recipe.task == "multilabel" else labels, "x": numbers, "edge_attr": numbers}
    other |= {"species": labels}
    arrays = {k: stored(v, other[k], order) if k in other else v for k, v in plain.items()}
    with tempfile.TemporaryDirectory() as folder:
        path, twin = Path(folder) / "own.npz", Path(folder) / "twin.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in arrays.items():
                member = io.BytesIO()
                np.lib.format.write_array(member, np.asanyarray(array), version=version)
                archive.writestr(f"{name}.npy", member.getvalue())
        np.savez(twin, **plain)
        changed = difference(read_npz(path), read_npz(twin))
    expect(changed is None, changed)


# --- damaged files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITERS)
@law(cases=60, recipe=recipes, damage=damages(), which=st.integers(0, 20))
def test_a_damaged_file_is_refused_or_gives_the_same_data(layout: str, recipe: Recipe, damage: Damage, which: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        WRITERS[layout](folder, recipe)
        before = read_all(layout, folder)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        damage.apply(files[which % len(files)])
        after = read_or_refuse(lambda: read_all(layout, folder), folder)
    changed = None if after is None else difference(after, before)
    expect(changed is None, f"{files[which % len(files)].name} is read as other data; {changed}")
