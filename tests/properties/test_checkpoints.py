"""Laws of a saved run: what is written is read back; with a damaged file a run is refused, or goes on to the same result."""

from __future__ import annotations

import functools
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from revgnn.models.config import ModelConfig
from revgnn.train.config import DataConfig, OptimConfig, RunConfig
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.run.checkpoint import load_state
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.loop import train
from revgnn.train.run.session import Session, prepare
from revgnn.train.run.tensor_file import CheckpointError, read_tensors, write_tensors
from tests.properties.damage import STRUCTURAL, Damage, check_refusal, damages, read_or_refuse, same
from tests.properties.laws import expect, law

# --- files of tensors -----------------------------------------------------------------------------------------------------------

DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.uint8,
    torch.bool,
]
SHAPES = [(), (0,), (1,), (7,), (3, 4), (0, 5), (2, 3, 4)]
json_values = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8)
notes = st.dictionaries(
    st.text(max_size=5), st.recursive(json_values, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=4
)
tensor_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda name: name != "__metadata__")
described = st.dictionaries(
    tensor_names, st.tuples(st.sampled_from(DTYPES), st.sampled_from(SHAPES), st.sampled_from(["", "t", "view"])), max_size=5
)


def made(description: dict[str, tuple[torch.dtype, tuple[int, ...], str]]) -> dict[str, Tensor]:
    shared = torch.arange(40.0)
    found = {}
    for k, (name, (dtype, shape, layout)) in enumerate(description.items()):
        size = int(torch.tensor(shape).prod()) if shape else 1
        tensor = (torch.arange(size) * 37 % 251 + k).to(dtype).reshape(shape)
        if layout == "t" and len(shape) == 2:
            tensor = tensor.t()
        elif layout == "view" and 2 <= size <= 20 and dtype == torch.float32:  # several may share their memory
            tensor = shared[: 2 * size : 2].reshape(shape)
        found[name] = tensor
    return found


@law(cases=12, description=described, note=notes)
def test_tensors_and_their_note_are_read_back(description: dict[str, Any], note: dict[str, Any]) -> None:
    tensors = made(description)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        write_tensors(path, tensors, note)
        back, back_note = read_tensors(path)
        expect([p.name for p in path.parent.iterdir()] == [path.name], "files were left behind")
    expect(back_note == note, f"the note is read as {back_note}")
    expect(same(back, {name: tensors[name].contiguous() for name in back}) and back.keys() == tensors.keys(), "other tensors")


@law(cases=3, size=st.integers(0, 1), step=st.integers(2, 9), note=notes)
def test_strides_of_no_elements_do_not_matter(size: int, step: int, note: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        write_tensors(path, {"a": torch.arange(9.0)[: size * step : step]}, note)
        expect(read_tensors(path)[0]["a"].shape == (size,), "another shape")


@law(cases=3, description=described.filter(bool), damage=damages("cut", "nothing"))
def test_tensors_that_were_read_do_not_need_their_file(description: dict[str, Any], damage: Damage) -> None:
    tensors = made(description)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        write_tensors(path, tensors, {})
        back, _ = read_tensors(path)
        damage.apply(path)
        expect(same(back, {name: tensors[name].contiguous() for name in back}), "the tensors have changed")


@law(cases=9, description=described, note=notes, damage=damages(*STRUCTURAL))
def test_a_file_of_tensors_cut_or_grown_is_refused_or_the_same(
    description: dict[str, Any], note: dict[str, Any], damage: Damage
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        write_tensors(path, made(description), note)
        check_same_or_refused(path, damage)


def check_same_or_refused(path: Path, damage: Damage, places: range | None = None) -> None:
    before = clones(path), read_tensors(path)[1]
    damage.apply(path, places)
    after = read_or_refuse(lambda: read_tensors(path), path)
    expect(after is None or same(after, before), "read as other tensors, or with another note")


def clones(path: Path) -> dict[str, Tensor]:
    """The tensors of a file in memory of their own."""
    return {name: tensor.clone() for name, tensor in read_tensors(path)[0].items()}


# --- a run ----------------------------------------------------------------------------------------------------------------------

CONFIG = RunConfig(
    data=DataConfig(name="synthetic:nodes=200,degree=4"),
    model=ModelConfig(depth=2, channels=8, groups=2, dropout=0.2),
    optim=OptimConfig(lr=0.01),
    epochs=2,
    parts=2,
    device="cpu",
)


@functools.cache
def trained() -> dict[str, bytes]:
    """The files of a run of two epochs, once a worker."""
    with tempfile.TemporaryDirectory() as folder:
        train(CONFIG, Path(folder) / "run")
        return {path.name: path.read_bytes() for path in (Path(folder) / "run").iterdir()}


@functools.cache
def session() -> Session:
    return prepare(CONFIG)


def outcome(folder: Path) -> dict[str, Any]:
    """Return all that the files of a run say, but wall times."""
    run = RunFolder(folder)
    times = ("seconds", "evaluation_seconds")
    lines = [{k: v for k, v in line.items() if k not in times} for line in run.metrics()]
    result = {k: v for k, v in (run.result() or {}).items() if "second" not in k}
    return {"lines": lines, "result": result, "best": clones(run.best_file), "last": clones(run.last_file)}


@functools.cache
def unharmed(epochs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_files(scratch)
        train(CONFIG.replace({"epochs": epochs}), folder, resume=True)
        return outcome(folder)


def write_files(folder: str) -> Path:
    for name, content in trained().items():
        (Path(folder) / name).write_bytes(content)
    return Path(folder)


@pytest.mark.parametrize("region", ["tensors", "header"])
@law(cases=30, name=st.sampled_from(["best.safetensors", "last.safetensors"]), damage=damages("flip", "byte"))
def test_a_bit_that_flips_in_a_state_is_seen(region: str, name: str, damage: Damage) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = write_files(scratch) / name
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        check_same_or_refused(path, damage, range(header) if region == "header" else range(header, path.stat().st_size))


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "metrics.jsonl", "result.json", "environment.json"])
@law(cases=2, damage=damages(*STRUCTURAL, "zero"), epochs=st.integers(2, 3))
def test_a_run_with_a_damaged_file_is_refused_or_resumes_to_the_same_result(name: str, damage: Damage, epochs: int) -> None:
    """To the epoch that is trained already, or one further."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_files(scratch)
        damage.apply(folder / name)
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                train(CONFIG.replace({"epochs": epochs}), folder, resume=True)
        except (ValueError, OSError) as error:
            check_refusal(error, folder / name)
            return
        found = outcome(folder)
        if any("The best weights are chosen anew" in str(warning.message) for warning in warned):
            # they are lost, which the user is told; the result is that of the weights that are there
            best = read_tensors(folder / "best.safetensors")[1]
            expect(found["result"]["best_epoch"] == best["epoch"], "a result of weights that are not there")
            expect(found["result"]["valid"] == best["valid"], "a score of weights that are not there")
            return
    if name == "metrics.jsonl":  # lines may be lost, but not changed
        lines = unharmed(epochs)["lines"]
        expect(all(line in lines for line in found["lines"]), f"other lines: {found['lines']}")
        found["lines"] = lines
    expect(same(found, unharmed(epochs)), f"another result: {found['result']}, not {unharmed(epochs)['result']}")


@pytest.mark.parametrize(
    "name", ["best.safetensors", "config.yaml", "metrics.jsonl", "result.json", "environment.json", "last.safetensors"]
)
@law(cases=2, damage=damages(*STRUCTURAL, "byte", "zero"))
def test_a_run_with_a_damaged_file_is_evaluated_or_refused(name: str, damage: Damage) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_files(scratch)
        damage.apply(folder / name)
        assume(name != "config.yaml" or all(byte < 128 for byte in (folder / name).read_bytes()))
        # A configuration that is cut short may name another data set, and the message then names that.
        read_or_refuse(lambda: evaluate_run(folder), folder if name != "config.yaml" else "")


# --- a state that is well formed, but another's ---------------------------------------------------------------------------------


CHANGES = ["gone", "longer", "shorter", "another dtype", "one more"]


@pytest.mark.parametrize("part", ["model", "optimizer", "rng"])
@pytest.mark.parametrize("change", CHANGES)
@law(cases=2, pick=st.integers(0, 10_000))
def test_a_state_with_another_tensor_is_refused(part: str, change: str, pick: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_files(folder) / "last.safetensors"
        tensors, note = read_tensors(path)
        names = sorted(name for name in tensors if name.startswith(f"{part}."))
        name = names[pick % len(names)]
        tensor = tensors[name]
        match change:
            case "gone":
                del tensors[name]
            case "longer":
                tensors[name] = torch.cat([tensor.flatten(), tensor.flatten()[:1]])
            case "shorter":
                assume(tensor.numel() > 1)
                tensors[name] = tensor.flatten()[:-1]
            case "another dtype":
                tensors[name] = tensor.to(torch.float64 if tensor.dtype != torch.float64 else torch.int32)
            case "one more":
                tensors[f"{name}.more"] = tensor.clone()
        write_tensors(path, tensors, note)
        check_state_refused(path)


@pytest.mark.parametrize("change", ["gone", "another kind"])
@law(cases=8, pick=st.integers(0, 10_000), value=st.sampled_from([None, "x", [], {}, -1, 0.5]))
def test_a_state_with_another_note_is_refused(change: str, pick: int, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_files(folder) / "last.safetensors"
        tensors, note = read_tensors(path)
        fields = [(note, key) for key in sorted(note)] + [(note["state"], key) for key in sorted(note["state"])]
        place, key = fields[pick % len(fields)]
        if change == "gone":
            assume(key not in ("features", "best_score", "data", "metrics_lines"))  # states of earlier versions have not all
            del place[key]
        else:
            assume(type(value) is not type(place[key]) and not (isinstance(value, float) and isinstance(place[key], float)))
            place[key] = value
        write_tensors(path, tensors, json.loads(json.dumps(note)))
        check_state_refused(path)


def check_state_refused(path: Path) -> None:
    try:
        load_state(path, session())
    except CheckpointError as error:
        check_refusal(error, path)
    else:
        expect(False, "the state is accepted")
