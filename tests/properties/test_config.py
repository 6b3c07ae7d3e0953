"""Laws of the configuration: any tree of values is a run that is saved and read again, or a short `ConfigError`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume
from hypothesis import strategies as st

from revgnn.train import ConfigError, RunConfig
from revgnn.train.config import FREE_ON_RESUME
from revgnn.train.config.errors import dotted_keys
from tests.properties.damage import LONGEST_MESSAGE, Damage, check_refusal, damages
from tests.properties.laws import expect, law

KEYS = sorted(dotted_keys(RunConfig))
WORDS = sorted({part for key in KEYS for part in key.split(".")})
VALUES = [
    *("reversible", "residual", "equilibrium", "revgat", "gen", "gcn", "sage", "gat", "max", "mean", "softmax", "power"),
    *("layer", "batch", "none", "backprop", "checkpoint", "grid", "plain", "float64", "adam", "rmsprop", "cosine", "single"),
    *("bf16", "cuda", "cpu", "auto", "synthetic", "standard", "rows", "entries", "log", "", "0", "1e-3", "null"),
]
plain_text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8)
names = st.sampled_from(WORDS) | plain_text
numbers = (
    st.integers(-3, 300)
    | st.sampled_from([2**31, 2**63 - 1, 2**63, 10**30, -(10**30)])
    | st.sampled_from([0.1, 0.5, 1.0, 1e-3, 1e308])
)
scalars = st.none() | st.booleans() | numbers | st.sampled_from(VALUES) | plain_text
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6)


def check_refused_shortly(error: ConfigError, *files: Path) -> None:
    expect("\n" not in str(error), f"more than a line: {error}")
    if files:
        check_refusal(error, *files)
    expect(len(str(error)) <= LONGEST_MESSAGE, f"a message of {len(str(error))} characters: {str(error)[:300]} ...")


def check_kept(config: RunConfig) -> None:
    """Assert that a configuration is saved and read as it is, and is the same run as itself."""
    again = RunConfig.parse(yaml.safe_load(config.to_yaml()))
    expect(again == config, f"{config.to_yaml()} is read as another configuration")
    expect(again.digest == config.digest, "the digest changes")
    expect(not config.differences(again), f"it differs from itself: {config.differences(again)}")
    through_json = RunConfig.parse(json.loads(json.dumps(config.model_dump(mode="json"))))
    expect(through_json == config, "JSON changes it")


def parse(values: Any) -> RunConfig | None:
    try:
        return RunConfig.parse(values)
    except ConfigError as error:
        check_refused_shortly(error)
        return None


# --- trees ----------------------------------------------------------------------------------------------------------------------


@law(cases=45, tree=st.dictionaries(names, trees, max_size=4))
def test_any_tree_is_a_run_or_refused_shortly(tree: dict[str, Any]) -> None:
    config = parse(tree)
    if config is not None:
        check_kept(config)


@pytest.mark.parametrize("place", ["key", "value"])
@law(cases=6, before=plain_text, after=plain_text)
def test_a_text_of_two_lines_makes_a_message_of_one(place: str, before: str, after: str) -> None:
    text = f"{before}\n{after}"
    parse({text: 1} if place == "key" else {"model": {"destination": text}})


@law(cases=18, tree=trees)
def test_what_is_no_tree_is_refused(tree: Any) -> None:
    config = parse(tree)
    if config is not None:
        check_kept(config)


@st.composite
def settings_of(draw: Any) -> dict[str, Any]:
    """Values under dotted keys, each of a kind that suits some key."""
    return draw(st.dictionaries(st.sampled_from(KEYS), scalars, max_size=3))


@law(cases=60, settings=settings_of())
def test_settings_are_kept_or_refused(settings: dict[str, Any]) -> None:
    try:
        config = RunConfig().replace(settings)
    except ConfigError as error:
        check_refused_shortly(error)
        return
    check_kept(config)
    expect(config.replace({}) == config, "no change is a change")


@law(cases=24, key=st.sampled_from(KEYS), value=scalars)
def test_a_setting_changes_its_own_key_alone(key: str, value: Any) -> None:
    """And is another run unless the key is free on resume."""
    check_change(key, value)


@law(cases=3, epochs=st.integers(1, 1000), warmup=st.integers(0, 9))
def test_another_schedule_is_no_other_number_of_epochs(epochs: int, warmup: int) -> None:
    check_change("optim.schedule", "cosine", {"epochs": epochs, "optim.warmup": warmup})


def check_change(key: str, value: Any, others: dict[str, Any] | None = None) -> None:
    before = RunConfig().replace({"data.name": "synthetic", **(others or {})})
    try:
        after = before.replace({key: value})
    except ConfigError:
        assume(False)
        return
    flat, other = before.flat(), after.flat()
    changed = {k for k in flat.keys() | other.keys() if flat.get(k) != other.get(k)}
    parent = key.rpartition(".")[0]
    new = f"{parent}." if flat.get(parent, 0) is None else f"{key}."  # a part that was left out comes with its defaults
    # The family has defaults of its own.
    expect(
        all(k in (key, parent) or k.startswith(new) or key == "model.family" for k in changed), f"{key}={value!r} changes {changed}"
    )
    counted = {k for k in changed if k not in FREE_ON_RESUME | {"preset"}}
    expect(set(before.differences(after)) == counted, f"differences are {before.differences(after)}, not those of {counted}")
    expect((before.digest == after.digest) == (not counted), "the digest does not tell the runs apart")


@pytest.mark.parametrize("value", [
    "lr", "aggregation_init",
])  # fmt: skip
@law(cases=4, number=st.sampled_from([float("nan"), float("inf"), -float("inf"), 5e-324]) | st.floats(1e100))
def test_a_number_that_is_not_finite_is_refused_or_kept(value: str, number: float) -> None:
    key = {"lr": "optim.lr", "aggregation_init": "model.aggregation_init"}[value]
    try:
        config = RunConfig().replace({key: number})
    except ConfigError as error:
        check_refused_shortly(error)
        return
    check_kept(config)


LONG = ["text", "list", "keys", "mapping", "bytes", "digits"]


@pytest.mark.parametrize("kind", LONG)
@law(cases=4, size=st.integers(3_000, 100_000), key=st.sampled_from(["epochs", "model.depth", "optim.lr", "seed"]))
def test_a_message_about_a_large_value_is_short(kind: str, size: int, key: str) -> None:
    value: Any = {
        "text": lambda: "x" * size,
        "list": lambda: list(range(size)),
        "keys": lambda: {f"k{i}": i for i in range(size // 10)},
        "mapping": lambda: {"x" * size: 1},
        "bytes": lambda: b"x" * 3000,
        "digits": lambda: -(10 ** min(size, 4200)),
    }[kind]()
    tree: dict[str, Any] = {}
    place = tree
    *parents, last = key.split(".")
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    if kind == "keys":
        tree |= value
    try:
        RunConfig.parse(tree)
    except ConfigError as error:
        expect(len(str(error)) <= LONGEST_MESSAGE, f"a message of {len(str(error))} characters: {str(error)[:200]} ...")


# --- YAML -----------------------------------------------------------------------------------------------------------------------


def read(text: str | bytes) -> RunConfig | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            config = RunConfig.from_yaml(path)
        except (ConfigError, OSError) as error:
            check_refused_shortly(error, path) if isinstance(error, ConfigError) else check_refusal(error, path)
            return None
    check_kept(config)
    return config


@law(cases=18, tree=trees, flow=st.none() | st.booleans())
def test_any_yaml_is_a_run_or_refused_shortly(tree: Any, flow: bool | None) -> None:
    read(yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True))


@law(cases=18, damage=damages("byte", "cut", "remove", "repeat", "lose the head", "append"))
def test_a_damaged_yaml_is_a_run_or_refused_shortly(damage: Damage) -> None:
    content = RunConfig().replace({"data.name": "synthetic"}).to_yaml().encode()
    damaged = damage.of(content)
    assume(all(byte < 128 for byte in damaged))
    read(damaged)


SPECIAL = {
    "bytes that are no UTF-8": b"epochs: \xff\xfe",
    "UTF-16": "epochs: 3".encode("utf-16"),
    "a zero byte": b"epochs: 3\x00",
    "a date": b"epochs: 2001-01-01",
    "no date": b"epochs: 2001-99-99",
    "no time": b"epochs: 2001-01-01 99:99:99",
    "too many digits": b"epochs: " + b"9" * 5000,
    "a deep list": b"epochs: " + b"[" * 1200 + b"]" * 1200,
    "a deep mapping": b"{a: " * 1200 + b"1" + b"}" * 1200,
    "aliases that multiply": b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n".encode() for i in range(4)
    ) + b"epochs: *e\n",
    "an alias to itself": b"epochs: &a [*a]",
    "a key that is a list": b"[1, 2]: 3",
    "a key that is a mapping": b"? {a: 1}\n: 2",
    "a key that is a number": b"3: 4",
    "a key that is null": b"~: 4",
    "an object": b"epochs: !!python/object/apply:os.system [true]",
    "a set": b"epochs: !!set {1, 2}",
    "binary": b"epochs: !!binary aGVsbG8=",
    "bad binary": b"epochs: !!binary ****",
    "an int that is none": b"epochs: !!int hello",
    "a float that is none": b"epochs: !!float hello",
    "a bool that is none": b"capture: !!bool 17",
    "a merge": b"<<: [1]",
    "two documents": b"epochs: 1\n---\nepochs: 2",
    "a key twice": b"epochs: 1\nepochs: 2",
    "infinite": b"optim: {lr: .inf}",
    "base 60": b"epochs: 1:30",
    "octal": b"epochs: 010",
    "nothing": b"",
    "a tab": b"epochs:\t3\n\tseed: 4",
    "text": b"hello",
    "a folder": b"/",
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
@law(cases=3, all_there_are=True, after=st.sampled_from([b"", b"\n", b"\n# the end"]))
def test_special_yaml_is_a_run_or_refused_shortly(name: str, after: bytes) -> None:
    config = read(SPECIAL[name] + after)
    expect(config is None or name != "a key twice", "accepted")


# --- settings of the command line -----------------------------------------------------------------------------------------------


@law(
    cases=36,
    assignments=st.lists(
        st.builds("{}{}{}".format, st.sampled_from(KEYS) | plain_text, st.sampled_from(["=", "", "=="]),
                  scalars.map(str) | st.text("[]{}:,&*!|>'\"% \t#?-@`~=<.0123456789abnyx", max_size=12)),
        max_size=2,
    ),
)  # fmt: skip
def test_any_assignment_is_a_run_or_refused_shortly(assignments: list[str]) -> None:
    try:
        config = RunConfig().override(assignments)
    except ConfigError as error:
        check_refused_shortly(error)
        return
    check_kept(config)
