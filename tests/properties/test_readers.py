"""Laws of the readers: what a file says is what comes out, and a damaged file is refused by name or gives the same data."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
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
from revgnn.data.readers.pyg import read_pyg
from revgnn.train.config import DataConfig
from revgnn.train.datasets import load_dataset
from tests.properties.damage import STRUCTURAL, Damage, damages, read_or_refuse
from tests.properties.datasets import NAMES, WRITERS, Recipe, difference, recipes, write_csv, write_npz, write_ogb
from tests.properties.laws import expect, law


def read_all(layout: str, folder: Path) -> NodeDataset:
    if layout == "planetoid":  # `load` refuses any but the published files
        return read_pyg(folder / "Cora", "cora")
    return load(NAMES[layout], folder, cache=False)


# --- files as they should be ----------------------------------------------------------------------------------------------------


@law(cases=9, recipe=recipes)
def test_a_saved_set_is_read_back(recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.npz"
        write_npz(path, recipe)
        first = read_npz(path)
        save_npz(first, path)
        changed = difference(read_npz(path), first)
    expect(changed is None, changed)


@pytest.mark.parametrize("layout", ["ogb csv", "ogb binary"])
@law(cases=4, recipe=recipes)
def test_ogb_and_npz_files_of_one_set_are_read_alike(layout: str, recipe: Recipe) -> None:
    recipe = Recipe(**{**vars(recipe), "splits": 1, "edges": max(1, recipe.edges)})  # a csv without rows has no columns
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        WRITERS[layout](folder, recipe)
        WRITERS["npz"](folder, recipe)
        ours, plain = read_all(layout, folder), read_npz(folder / "own.npz")
    for field in ("indptr", "src"):
        expect(torch.equal(getattr(ours.graph, field), getattr(plain.graph, field)), field)
    close = {"rtol": 1e-4, "atol": 1e-5}  # a csv has six digits
    for field in ("x", "species", "y"):
        one, other = getattr(ours, field), getattr(plain, field)
        if field == "x" and not recipe.features:  # made of edge features or degrees
            expect(one.shape == other.shape, "x")
        elif one is not None or other is not None:
            expect(torch.allclose(one.double(), other.double(), equal_nan=True, **close), f"{field}: {one} and {other}")
    for part in ("train", "valid", "test"):
        expect(torch.equal(getattr(ours.split, part), getattr(plain.split, part)), part)


INTEGERS = ["<i8", "<i4", "<i2", "<u8", "<u4", "<u2", "|i1", "|u1"]
SWAPPED = [">i8", ">i4", ">i2", ">u8", ">u4", ">u2"]
FLOATS = ["<f4", "<f8", ">f4", ">f8", "<f2"]
ORDERS = ["C", "F", "strided"]


def stored(array: np.ndarray, dtype: str, order: str) -> np.ndarray:
    """The same numbers, as another program may have them."""
    array = array.astype(dtype)
    if order == "strided":
        return np.repeat(array, 2, axis=0)[::2]
    return np.asarray(array, order=order)  # type: ignore[call-overload]


@pytest.mark.parametrize("edges", [*INTEGERS, *SWAPPED])
@law(
    cases=2,
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


# --- damaged files --------------------------------------------------------------------------------------------------------------


def regions(content: bytes) -> dict[str, list[int]]:
    """The places of an .npz file by what stands there; those of lengths have laws of their own."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        at = archive.start_dir
    found: dict[str, list[int]] = {"data": [], "headers": [], "directory": [], "names": []}
    for member in members:
        start = member.header_offset
        lengths = [int.from_bytes(content[k : k + 2], "little") for k in (start + 26, start + 28)]
        inner = start + 30 + sum(lengths)
        found["headers"] += [*range(start, start + 26), *range(start + 30, inner)]
        found["data"] += range(inner, inner + member.compress_size)
        length = len(member.filename)
        found["names"] += [at + 28, at + 29, *range(at + 46, at + 46 + length)]
        found["directory"] += [*range(at, at + 28), *range(at + 34, at + 46)]
        at += 46 + length + len(member.extra) + len(member.comment)
    found["directory"] += range(at, len(content))
    return found


def check_damage(
    layout: str, recipe: Recipe, damage: Damage, which: int = 0, region: str | None = None, protected: bool = True
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        WRITERS[layout](folder, recipe)
        before = read_all(layout, folder)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        files = [p for p in files if protected == (p.suffix in (".gz", ".npz", ".pt"))]
        file = files[which % len(files)]
        damage.apply(file, regions(file.read_bytes())[region] if region else None)
        after = read_or_refuse(lambda: read_all(layout, folder), folder, NAMES[layout] if not layout.startswith("npz") else folder)
    changed = None if after is None or not protected else difference(after, before)
    expect(changed is None, f"{file.name} is read as other data; {str(changed)[:500]}")


@pytest.mark.parametrize("layout", ["npz", "npz compressed", "ogb binary"])
@law(cases=8, recipe=recipes, damage=damages(*STRUCTURAL), which=st.integers(0, 20))
def test_a_file_cut_or_grown_is_refused_or_gives_the_same_data(layout: str, recipe: Recipe, damage: Damage, which: int) -> None:
    check_damage(layout, recipe, damage, which)


@pytest.mark.parametrize("layout", ["npz", "npz compressed"])
@pytest.mark.parametrize("region", ["data", "headers", "directory", "names"])
@law(cases=12, recipe=recipes, damage=damages("flip", "byte"))
def test_a_bit_that_flips_is_seen(layout: str, region: str, recipe: Recipe, damage: Damage) -> None:
    check_damage(layout, recipe, damage, region=region)


@law(cases=6, recipe=recipes, array=st.sampled_from(["valid_mask", "test_mask"]))
def test_an_array_that_the_directory_hides_is_noticed(recipe: Recipe, array: str) -> None:
    """The entry before it claims a comment of as many bytes as the array's entry has. The number of entries is in the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.npz"
        write_npz(path, recipe)
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            names, at = archive.namelist(), archive.start_dir
        for name, following in itertools.pairwise(names):
            if following == f"{array}.npy":
                content[at + 32 : at + 34] = (46 + len(following)).to_bytes(2, "little")
            at += 46 + len(name)
        path.write_bytes(content)
        expect(read_or_refuse(lambda: read_npz(path), path) is None, f"{array} is left out")


@law(cases=3, recipe=recipes, length=st.integers(2**12, 2**16 - 1))
def test_a_header_with_another_length_of_its_name_makes_a_short_message(recipe: Recipe, length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.npz"
        write_npz(path, recipe)
        content = path.read_bytes()
        path.write_bytes(content[:26] + length.to_bytes(2, "little") + content[28:])
        expect(read_or_refuse(lambda: read_npz(path), path) is None, "accepted")


@law(cases=18, recipe=recipes, damage=damages(), which=st.integers(0, 20))
def test_a_damaged_csv_is_seen(recipe: Recipe, damage: Damage, which: int) -> None:
    check_damage("ogb csv", recipe, damage, which)


@pytest.mark.parametrize("layout", ["ogb csv", "planetoid"])
@law(cases=8, recipe=recipes, damage=damages(), which=st.integers(0, 20))
def test_a_damaged_file_without_a_checksum_ends_in_no_other_error(layout: str, recipe: Recipe, damage: Damage, which: int) -> None:
    """JSON and pickles: what is still well formed is read."""
    check_damage(layout, recipe, damage, which, protected=False)


# --- files that say something else ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", ["x", "edge_attr", "species", "valid_mask", "test_mask"])
@law(cases=4, recipe=recipes, name=st.text("abcdefgxyz_", min_size=1, max_size=8))
def test_an_array_is_read_or_its_name_refused(array: str, recipe: Recipe, name: str) -> None:
    arrays = Recipe(**{**vars(recipe), "features": True, "edge_features": 2, "species": True}).arrays()
    assume(name not in arrays)
    arrays[name] = arrays.pop(array)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.npz"
        np.savez(path, **arrays)
        expect(read_or_refuse(lambda: read_npz(path), path) is None, f"{array} under the name {name!r} is left out")


@law(cases=8, recipe=recipes, array=st.sampled_from(["edge_index", "y", "train_mask"]))
def test_an_array_that_is_there_twice_is_refused(recipe: Recipe, array: str) -> None:
    arrays = recipe.arrays()
    members = {name: io.BytesIO() for name in arrays}
    for name, member in members.items():
        np.lib.format.write_array(member, np.asanyarray(arrays[name]))
    twice = io.BytesIO()
    np.lib.format.write_array(twice, np.roll(np.asanyarray(arrays[array]), 1, axis=-1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for name, member in members.items():
                archive.writestr(f"{name}.npy", member.getvalue())
            archive.writestr(f"{array}.npy", twice.getvalue())
        expect(read_or_refuse(lambda: read_npz(path), path) is None, f"{array} is there twice, and read")


def claim(shape: tuple[int, ...]) -> bytes:
    """A file of an array of this shape, without its numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue()


STRANGE: dict[str, Any] = {
    "objects": np.array([{}, None], object),
    "a scalar": np.array(3),
    "text": np.array(["a", "b"]),
    "bytes": np.array([b"a", b"b"]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "complex": np.zeros(14, complex),
    "records": np.zeros(14, [("a", "i4"), ("b", "f8")]),
    "void": np.zeros(14, "V3"),
    "long double": np.zeros((14, 2), np.longdouble),
    "NaN": np.full((14, 2), np.nan),
    "infinite": np.full((14, 2), np.inf),
    "huge": np.full((14, 2), 1e300),
    "huge integers": np.full((14, 2), 2**63 - 1),
    "unsigned": np.full((14, 2), 2**64 - 1, np.uint64),
    "negative": np.full((14, 2), -7),
    "empty": np.zeros(0),
    "no columns": np.zeros((14, 0)),
    "no rows": np.zeros((0, 14)),
    "cube": np.zeros((2, 14, 2)),
    "a row": np.arange(14)[None] % 3,
    "a claim of 2**40 rows": claim((2**40,)),
    "a claim of -1 rows": claim((-1, 3)),
    "a claim that wraps": claim((2**32, 2**32)),
}
"""What may stand in the place of an array of 14 rows."""
NO_ARRAYS: dict[str, bytes] = {
    "a pickle": b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.",
    "no npy": b"hello",
    "nothing": b"",
}
"""What may stand in the place of an array's file."""
FIELDS = [
    *("edge_index", "x", "y", "edge_attr", "species", "train_mask", "valid_mask", "undirected"),
    *("task", "metric", "num_classes", "task_names", "name", "source", "licence"),
]


small = recipes.map(lambda recipe: Recipe(**{**vars(recipe), "nodes": 14, "edges": 14}))


@pytest.mark.parametrize("field", FIELDS)
@law(cases=4, recipe=small, kind=st.sampled_from(list(STRANGE)))
def test_a_strange_array_is_refused_by_name_or_understood(field: str, recipe: Recipe, kind: str) -> None:
    """Whatever is accepted is a data set that can be used: its numbers are finite, its labels classes."""
    check_strange(recipe, field, STRANGE[kind])


@law(cases=3, recipe=small, name=st.text(max_size=5) | st.integers(0, 9))
def test_a_single_task_name_is_refused_or_understood(recipe: Recipe, name: str | int) -> None:
    check_strange(recipe, "task_names", np.array(name))


@pytest.mark.parametrize("field", ["x", "edge_attr"])
@law(cases=6, recipe=small, value=st.floats(1e39, 1e308), negative=st.booleans(), place=st.integers(0, 13))
def test_numbers_beyond_float32_are_refused(field: str, recipe: Recipe, value: float, negative: bool, place: int) -> None:
    array = np.zeros((14, 2))
    array[place, place % 2] = -value if negative else value
    check_strange(recipe, field, array)


@law(cases=12, recipe=small, field=st.sampled_from(FIELDS), kind=st.sampled_from(list(NO_ARRAYS)))
def test_a_member_that_is_no_array_is_refused_by_name(recipe: Recipe, field: str, kind: str) -> None:
    check_strange(recipe, field, NO_ARRAYS[kind])


def check_strange(recipe: Recipe, field: str, strange: Any) -> None:
    arrays = recipe.arrays()
    arrays.pop(field, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in {**arrays, field: strange}.items():
                member = io.BytesIO()
                if isinstance(array, bytes):
                    member.write(array)
                else:
                    np.lib.format.write_array(member, np.asanyarray(array))
                archive.writestr(f"{name}.npy", member.getvalue())
        found = read_or_refuse(lambda: read_npz(path), path)
    if found is not None:
        expect(found.x is None or bool(found.x.isfinite().all()), "features are not finite")
        attr = found.graph.edge_features()
        expect(attr is None or bool(attr.isfinite().all()), "edge features are not finite")
        expect(
            found.task == "multilabel" or found.num_outputs <= found.num_nodes,
            f"{found.num_outputs} classes of {found.num_nodes} nodes",
        )


@pytest.mark.parametrize("word", ["True", "true", "1", "False", "no", "0"])
@law(cases=2, recipe=small)
def test_undirected_in_words_means_what_it_says(word: str, recipe: Recipe) -> None:
    arrays = {**recipe.arrays(), "undirected": np.array(word)}
    with tempfile.TemporaryDirectory() as folder:
        path, twin = Path(folder) / "own.npz", Path(folder) / "twin.npz"
        np.savez(path, **arrays)
        np.savez(twin, **{**arrays, "undirected": word.lower() in ("true", "1", "yes")})
        found = read_or_refuse(lambda: read_npz(path), path)
        changed = None if found is None else difference(found, read_npz(twin))
    expect(changed is None, changed)


CLASSES = st.integers(-3, 3) | st.sampled_from([0.5, 1e10, 2020, 65535, 65536, 2**31, 2**32 - 1, 2**53, float("nan"), float("inf")])


@pytest.mark.parametrize("kind", ["i8", "f8", "u2"])
@law(cases=18, changes=st.lists(st.tuples(st.integers(0, 13), CLASSES), max_size=3), seed=st.integers(0, 99))
def test_labels_are_classes_or_refused(kind: str, changes: list[tuple[int, float]], seed: int) -> None:
    """-1 and NaN are unlabelled nodes. More classes than nodes are none. Labels with fractions are numbers to predict."""
    arrays = Recipe(seed).arrays()
    y = [float(v) for v in arrays["y"]]
    for node, value in changes:
        y[node] = value
    if kind != "f8":
        assume(all(v == v and v == int(v) if v not in (float("inf"),) else False for v in y))
    labels = np.array([int(v) if kind != "f8" else v for v in y], dtype=np.int64 if kind == "i8" else np.float64)
    if kind == "u2":
        labels = labels.astype(np.int64).astype(np.uint16)  # -1 wraps to 65535
    arrays["y"] = labels
    arrays.pop("task")
    for part in ("train_mask", "valid_mask", "test_mask"):
        arrays.pop(part)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.npz"
        np.savez(path, **arrays)
        found = read_or_refuse(lambda: read_npz(path), path)
    if found is not None and any(v != int(v) for v in labels.tolist() if v == v):
        expect(found.task == "regression", f"labels with fractions are read as {found.task}")
        expect(np.array_equal(found.y[:, 0].numpy(), labels.astype(np.float32), equal_nan=True), "numbers are changed")
    elif found is not None:
        wanted = [-1 if v != v or v == -1 else int(v) for v in labels.tolist()]
        expect(found.y.tolist() == wanted, f"labels {labels.tolist()} are read as {found.y.tolist()}")
        expect(found.num_outputs <= found.num_nodes, f"{found.num_outputs} classes of {found.num_nodes} nodes")


# --- OGB's folders --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
@law(cases=6, recipe=small, node=st.integers(0, 13), value=st.floats(0.01, 1.99).filter(lambda v: v != 1))
def test_fractional_labels_of_ogb_are_refused(binary: bool, recipe: Recipe, node: int, value: float) -> None:
    recipe = Recipe(**{**vars(recipe), "task": "multiclass"})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ogb(folder / "ogbn_own", recipe, binary=binary)
        labels = recipe.arrays()["y"].astype(np.float32)[:, None]
        labels[node] = value
        if binary:
            np.savez(folder / "ogbn_own" / "raw" / "node-label.npz", node_label=labels)
        else:
            write_csv(folder / "ogbn_own" / "raw" / "node-label.csv.gz", labels)
        found = read_or_refuse(lambda: read_all("ogb csv", folder), folder, "ogbn-own")
    expect(found is None, f"label {value} is read as {found and found.y[node]}")


@law(cases=6, recipe=small.filter(lambda recipe: recipe.edges > 2))
def test_a_transposed_edge_list_is_refused(recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ogb(folder / "ogbn_own", recipe, binary=False)
        before = read_all("ogb csv", folder)
        write_csv(folder / "ogbn_own" / "raw" / "edge.csv.gz", recipe.arrays()["edge_index"])
        found = read_or_refuse(lambda: read_all("ogb csv", folder), folder, "ogbn-own")
    changed = None if found is None else difference(found, before)
    expect(changed is None, changed)


@pytest.mark.parametrize("key", ["add_inverse_edge", "binary", "is hetero"])
@law(cases=6, recipe=small, value=st.sampled_from([True, "true", "TRUE", 1, False, "false", 0, "False", "True"]))
def test_a_boolean_of_ogb_may_be_spelled_in_any_way(key: str, recipe: Recipe, value: Any) -> None:
    meant = str(value).lower() in ("true", "1")
    with tempfile.TemporaryDirectory() as name:
        found = []
        for spelling, place in ((value, Path(name) / "a"), (str(meant), Path(name) / "b")):
            write_ogb(place / "ogbn_own", recipe, binary=meant if key == "binary" else False)
            path = place / "ogbn_own" / "meta_dict.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {key: spelling}))
            found.append(read_or_refuse(lambda place=place: read_all("ogb csv", place), place, "ogbn-own"))
    one, other = found
    expect((one is None) == (other is None), f"{value!r} is refused and {meant} is not, or the reverse")
    changed = None if one is None or other is None else difference(one, other)
    expect(changed is None, changed)


# --- node features in a file of their own ---------------------------------------------------------------------------------------


HEADER = 128
"""Bytes of an .npy file that say its type and shape."""
BRACKETS = st.sampled_from(b"([{")


@pytest.mark.parametrize("region", ["numbers", "header"])
@law(
    cases=12,
    damage=damages() | damages("byte", values=BRACKETS),
    dtype=st.sampled_from(FLOATS),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_damaged_file_of_node_features_is_refused_or_finite(
    region: str, damage: Damage, dtype: str, order: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        np.save(path, stored(rng.normal(size=(200, 3)), dtype, order))
        config = DataConfig(name="synthetic:nodes=200,degree=4", node_features=str(path))
        before = load_dataset(config)
        expect(before.x is not None and before.x.shape == (200, 3), "the features of the file are not used")
        damage.apply(path, range(HEADER) if region == "header" else range(HEADER, path.stat().st_size))
        after = read_or_refuse(lambda: load_dataset(config), path, "synthetic")
    if after is not None:
        expect(after.x is not None and after.x.shape[0] == 200 and bool(after.x.isfinite().all()), "features that are not finite")


@law(
    cases=4,
    value=st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    node=st.integers(0, 199),
    dtype=st.sampled_from(FLOATS),
)
def test_features_that_are_not_finite_are_refused_by_the_name_of_their_file(value: float, node: int, dtype: str) -> None:
    features = np.zeros((200, 2), dtype)
    features[node, node % 2] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        np.save(path, features)
        config = DataConfig(name="synthetic:nodes=200,degree=4", node_features=str(path))
        expect(read_or_refuse(lambda: load_dataset(config), path) is None, "accepted")


# --- pickles --------------------------------------------------------------------------------------------------------------------


class Opens:
    """A pickle that would make a file when it is read."""

    def __init__(self, path: str, how: str) -> None:
        self.path, self.how = path, how

    def __reduce__(self) -> Any:
        return {
            "open": (open, (self.path, "w")),
            "eval": (eval, (f"open({self.path!r}, 'w')",)),
            "mkdir": (os.mkdir, (self.path,)),
            "system": (os.system, (f"touch {self.path}",)),
        }[self.how]


@pytest.mark.parametrize("layout", ["planetoid", "ogb binary"])
@law(
    cases=4,
    how=st.sampled_from(["open", "eval", "mkdir", "system"]),
    protocol=st.integers(0, 5),
    which=st.integers(0, 6),
    within=st.sampled_from(["alone", "list", "dict"]),
)
def test_no_pickle_is_obeyed(layout: str, how: str, protocol: int, which: int, within: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        WRITERS[layout](folder, Recipe(0))
        trap = folder / "trap"
        opens = Opens(str(trap), how)
        content = pickle.dumps({"alone": opens, "list": [opens], "dict": {"train": opens}}[within], protocol=protocol)
        files = sorted(folder.rglob("ind.cora.[agty]*")) if layout == "planetoid" else [*folder.rglob("*.pt")]
        files = [file for file in files if not file.name.endswith("index")]
        files[which % len(files)].write_bytes(content)
        found = read_or_refuse(lambda: read_all(layout, folder), folder)
        expect(not trap.exists(), "the pickle was obeyed")
    expect(found is None, "accepted")
