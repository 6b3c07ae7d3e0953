"""From two tables to predictions, by the commands of the README and of the start page as they are."""

from __future__ import annotations

import csv
import json
import random
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from revgnn.cli.app import app
from tests.pages import ROOT, blocks, commands

README = Path(__file__).resolve().parents[1] / "README.md"
PLANS = ("basic", "gold", "silver")


def write_shop(folder: Path, num_nodes: int, seed: int, *, labels: bool) -> dict[str, str]:
    """Write customers and purchases, and return the plan of each customer. Plans show in age, city and in whom one buys from."""
    rng = np.random.default_rng(seed)
    ids = [f"C-{number:05d}" for number in rng.permutation(100_000)[:num_nodes]]
    plan = rng.integers(0, 3, num_nodes)
    folder.mkdir()
    with open(folder / "nodes.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "customer", "city", "member", "joined", "remark", *(["plan"] if labels else [])])
        for i, customer in enumerate(ids):
            age = "" if rng.random() < 0.1 else round(30 + 8 * plan[i] + rng.normal() * 6, 1)
            near = plan[i] if rng.random() < 0.5 else rng.integers(3)
            city = "" if rng.random() < 0.05 else ("Zürich", "Genf", "Bern, Köniz")[near]
            joined = f"20{rng.integers(10, 25)}-{rng.integers(1, 13):02}-{rng.integers(1, 29):02}"
            row = [age, customer, city, ("yes", "no")[rng.integers(2)], joined, f"=remark {i}"]
            writer.writerow([*row, *([PLANS[plan[i]]] if labels else [])])
    with open(folder / "edges.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["buyer", "seller", "amount", "channel"])
        for _ in range(4 * num_nodes):
            buyer = rng.integers(num_nodes)
            alike = np.flatnonzero(plan == plan[buyer]) if rng.random() < 0.6 else np.arange(num_nodes)
            writer.writerow(
                [ids[buyer], ids[rng.choice(alike)], round(rng.gamma(2.0, 20.0), 2), ("web", "shop", "")[rng.integers(3)]]
            )
    return {customer: PLANS[p] for customer, p in zip(ids, plan, strict=True)}


def section_of_the_readme() -> str:
    return README.read_text(encoding="utf-8").split("## From your own tables to predictions")[1].split("\n## ")[0]


def commands_of_the_readme() -> list[list[str]]:
    block = re.findall(r"```bash\n(.*?)```", section_of_the_readme(), re.DOTALL)[0]
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.startswith("revgnn ")]


def header_of_the_readme() -> str:
    return re.findall(r"```csv\n(.*?)```", section_of_the_readme(), re.DOTALL)[0].strip()


def test_from_tables_to_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_shop(Path("shop"), 1500, seed=0, labels=True)
    truth = write_shop(Path("new"), 400, seed=1, labels=False)

    train, evaluate, predict = commands_of_the_readme()
    for words in (train, evaluate, predict):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output

    spec = (tmp_path / "shop" / "graph.yaml").read_text(encoding="utf-8")
    for line in ("customer: id", "age: numeric", "city: categorical", "member: boolean", "joined: date", "remark: ignored"):
        assert line in spec
    assert {path.name for path in Path("shop").iterdir()} == {"nodes.csv", "edges.csv", "graph.yaml"}

    with open("predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == header_of_the_readme()
    assert [row["customer"] for row in rows] == list(truth)  # the order of the table, the ids as they came
    for row in rows:
        chances = [float(row[f"probability_{plan}"]) for plan in PLANS]
        assert sum(chances) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == PLANS[int(np.argmax(chances))]
        assert row["split"] == ""
    hits = np.mean([row["predicted"] == truth[row["customer"]] for row in rows])
    assert hits > 0.6, f"{hits:.2f} of the new customers; a third is chance"

    # What the run says of its own test nodes is near what it achieves on customers that it has never seen.
    own = json.loads(CliRunner().invoke(app, [*evaluate, "--json"]).stdout)
    assert own["test"] > 0.6


START = ROOT / "docs" / "start.md"


def test_the_start_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables, then its commands in their order, with fewer customers, epochs and minutes; then its Python."""
    monkeypatch.chdir(tmp_path)
    tables, python = (block.code for block in blocks(START, "python"))
    random.seed(0)
    exec(
        compile(tables.replace('"shop", 0, 600', '"shop", 0, 200').replace('"new", 600, 200', '"new", 200, 80'), "shop.py", "exec"),
        {},
    )
    for block in blocks(START, "csv"):  # the header that the page shows is that of the tables
        name = "nodes.csv" if "plan" in block.first else "edges.csv"
        assert (Path("shop") / name).read_text(encoding="utf-8").splitlines()[0] == block.first

    shorter = {"train": ["--epochs", "12"], "tune": ["--budget", "3s"]}
    ran = []
    for block in blocks(START, "bash")[1:]:  # the first one installs
        for program, name, *words in commands(block):
            assert program == "revgnn"
            result = CliRunner().invoke(app, [name, *words, *shorter.get(name, [])])
            assert result.exit_code == 0, result.output
            ran.append(name)
    assert ran == ["train", "predict", "report", "tune"]
    assert Path("runs/tuned/best/config.yaml").exists()

    with open("predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["customer"] for row in rows] == [f"c{n}" for n in range(200, 280)]
    assert {row["predicted"] for row in rows} <= {"basic", "silver", "gold"}

    names: dict[str, Any] = {}
    exec(compile(python.replace('["plan"]}', '["plan"], "epochs": 2}'), str(START), "exec"), names)
    assert len(names["predicted"]) == 80
