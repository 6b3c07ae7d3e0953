"""docs/metrics.md lists the fields of metrics.jsonl as real runs write them, with what their values are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from revgnn.equilibrium import SolveStatistics
from revgnn.train import RunConfig, train

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"

KINDS = {"whole number": (int,), "number": (int, float), "number or null": (int, float, type(None))}

RUNS: dict[str, dict[str, Any]] = {
    "stack": {"model": {"family": "reversible", "depth": 2, "channels": 8}},
    "fp16": {"model": {"family": "reversible", "depth": 2, "channels": 8}, "amp": "fp16"},
    "equilibrium": {"model": {"family": "equilibrium", "depth": 4, "channels": 8}},
}


def documented() -> dict[str, str]:
    """Return the fields of the page and what it says their values are."""
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(unit.strip() for _, _, unit in rows)
    return {name: kind.strip() for name, kind, _ in rows}


def flat(line: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in line.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The lines of real runs, of which every second epoch is evaluated."""
    found = {}
    for name, changes in RUNS.items():
        folder = tmp_path_factory.mktemp(name) / "run"
        base = {"data": {"name": "synthetic:nodes=200,degree=6,tasks=2"}, "epochs": 3, "evaluation": {"every": 2}, "device": "cpu"}
        train(RunConfig.parse({**base, **changes}), folder)
        found[name] = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return found


def test_the_page_has_every_field_and_no_other(lines: dict[str, list[dict[str, Any]]]) -> None:
    written = {name for run in lines.values() for line in run for name, _ in flat(line)}
    assert written == documented().keys()
    parts = {field.name for field in fields(SolveStatistics)}
    assert {name.removeprefix("solves.") for name in documented() if name.startswith("solves.")} == parts


def test_values_are_what_the_page_says(lines: dict[str, list[dict[str, Any]]]) -> None:
    kinds, nulls = documented(), set()
    for run in lines.values():
        for line in run:
            for name, value in flat(line):
                assert type(value) in KINDS[kinds[name]], (name, value)
                nulls |= {name} if value is None else set()
    assert {"train", "valid", "test", "evaluation_solves.backward_steps"} <= nulls


def test_which_fields_belong_to_which_runs(lines: dict[str, list[dict[str, Any]]]) -> None:
    assert not any({"skipped_steps", "solves", "evaluation_solves"} & line.keys() for line in lines["stack"])
    assert all("skipped_steps" in line for line in lines["fp16"])
    assert all("solves" in line for line in lines["equilibrium"])
    assert ["evaluation_solves" in line for line in lines["equilibrium"]] == [False, True, True]
    assert [line["epoch"] for line in lines["stack"]] == [1, 2, 3]
    assert len({line["peak_bytes"] for line in lines["stack"]}) == 1
