"""Every block of code in the documentation is tried, and what the pages name exists. `tests/pages.py` says how."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from typer.testing import CliRunner

from revgnn import Graph, ModelConfig, build_model, num_parameters
from revgnn.cli.app import app
from revgnn.experiments import get_preset
from tests.pages import LANGUAGES, PAGES, ROOT, Block, blocks, check_command, commands, name_of, run_page

MARKDOWN = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "src").rglob("*.md"))]

SAMPLES = {
    "CONTRIBUTING.md: memory -> kernels -> graph -> ops -> nn, stack -> capture, equilibrium -> models -> data -> train -> "
    "distributed -> experiments -> api -> cli",
    "auto.md: graph          11,758 nodes of mean degree 88.3, about 11 across; 10 features (mixed); binary, 5,879 training nodes; "
    "homophily 0.10",
    "depth.md: reversible   Beyond 14 layers no gain is shown here: 28 layers +0.0010, interval -0.0030 to 0.0050.",
    "extend/reader.md: 1 Basel",
    "output.md: epoch 5/6 ━━━━━━━━━━── step 7/10  left 175 ms",
    "own-data.md: nodes.csv                graphs.csv            edges.csv",
    "plan.md: memory       1.2 GB at the peak of a training step",
    "plan.md: 4 processes over 1.0 GB/s, latency 50 us",
}
"""Blocks of `text` by page and first line: output and drawings. Nothing runs them, so a new one must be named here."""

NOT_RUN = {
    "data.md": "converts objects of libraries that are not installed",
    "many-processes.md": "runs in the processes of torchrun; tests/distributed does the same",
}
"""Pages whose Python is only compiled, and why."""

SLOW = {"plan.md"}

ELSEWHERE = {"start.md": "tests/test_five_minutes.py", "extend/operator.md": "tests/ops/test_readme.py"}
"""Pages whose Python is run by a test of its own."""

EXTRAS = {"runs.md": "tensorboard"}
"""Pages that need a package that is not installed with revgnn."""


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


# --- Python -------------------------------------------------------------------------------------------------------------


def for_the_readme() -> dict[str, Any]:
    data = revgnn_data()
    return {"data": data, "other": data, "new": data, "edge_index": torch.randint(0, 20, (2, 60)), "num_nodes": 20,
            "h": torch.randn(20, 64, requires_grad=True)}  # fmt: skip


def revgnn_data() -> Any:
    from torch_geometric.data import Data

    y = torch.randint(0, 3, (200,))
    return Data(x=nn.functional.one_hot(y).float(), edge_index=torch.randint(0, 200, (2, 1000)), y=y)


def for_cuda_graphs() -> dict[str, Any]:
    model = build_model(ModelConfig(depth=3, channels=16), in_channels=3, out_channels=3)
    data = revgnn_data()
    optimizer = torch.optim.Adam(model.parameters())
    return {"model": model, "graph": Graph.of(data), "batches": [(data.x, data.y)] * 2, "optimizer": optimizer}


GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "README.md": for_the_readme,
    "cuda-graphs.md": for_cuda_graphs,
    "runs.md": lambda: {"data": revgnn_data()},
}
"""What a reader of a page is told to have already."""

SHORTER = {
    "README.md": [(r"range\((?:200|1000)\)", "range(10)"), ('"epochs": 50', '"epochs": 2')],
    "models.md": [("depth=1001", "depth=11")],
    "runs.md": [('"epochs": 50', '"epochs": 2')],
}
"""Depths and epochs that would take minutes, and what is run instead."""


def python_pages() -> list[Any]:
    pages = [page for page in pages_with("python") if name_of(page) not in {**NOT_RUN, **ELSEWHERE}]
    return [pytest.param(p, marks=pytest.mark.slow if name_of(p) in SLOW else (), id=name_of(p)) for p in pages]


@pytest.mark.parametrize("page", python_pages())
def test_python_of(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order: later blocks use names of earlier ones."""
    monkeypatch.chdir(tmp_path)
    name = name_of(page)
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    names = GIVEN[name]() if name in GIVEN else {}
    first = dict(names)
    CHECKS.get(name, lambda first, names: None)(first, run_page(page, names, SHORTER.get(name, [])))


def check_readme(first: dict[str, Any], names: dict[str, Any]) -> None:
    names["h"].sum().backward()
    assert names["h"].shape == (20, 64)
    assert first["h"].grad is not None


def check_plan(first: dict[str, Any], names: dict[str, Any]) -> None:
    assert names["planned"].run.parameters == 68_471_608
    assert names["planned"].deepest.needed_bytes <= 11e9


def check_python(first: dict[str, Any], names: dict[str, Any]) -> None:
    assert names["classes"].shape == names["of_another_graph"].shape == (200,)


def check_interop(first: dict[str, Any], names: dict[str, Any]) -> None:
    assert names["before"].shape == (20, 32)


def check_models(first: dict[str, Any], names: dict[str, Any]) -> None:
    assert names["logits"].shape == (50, 40)
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"{num_parameters(names['model']):,} parameters" in page


CHECKS = {
    "README.md": check_readme,
    "plan.md": check_plan,
    "python.md": check_python,
    "interop.md": check_interop,
    "models.md": check_models,
}
"""What must hold after the last block."""


def test_other_tests_of_pages_exist() -> None:
    for page, test in ELSEWHERE.items():
        assert (ROOT / "docs" / page).exists()
        assert (ROOT / test).exists()


@pytest.mark.parametrize("name", NOT_RUN)
def test_python_that_is_not_run_compiles(name: str) -> None:
    for block in blocks(ROOT / "docs" / name, "python"):
        compile(block.code, name, "exec")


# --- commands and files -------------------------------------------------------------------------------------------------


def named(block: Block) -> str:
    return f"{name_of(block.page)}:{block.line}"


@pytest.mark.parametrize("block", [b for page in PAGES for b in blocks(page, "bash")], ids=named)
def test_commands_are_understood(block: Block) -> None:
    for words in commands(block):
        check_command(words)


def instant_commands() -> list[str]:
    """Return the commands of all pages that only tell something, each once."""
    found = {}
    for words in (words for page in PAGES for block in blocks(page, "bash") for words in commands(block)):
        tells = words[:1] == ["revgnn"] and words[1] in ("config", "datasets", "paper", "presets")
        if tells and not {"--measure", "--train"} & set(words):
            found[shlex.join(words[1:])] = None
    return list(found)


@pytest.mark.parametrize("command", instant_commands())
def test_commands_that_tell_something_run(command: str) -> None:
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()


@pytest.mark.parametrize("block", [b for page in PAGES for b in blocks(page)], ids=named)
def test_every_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES or re.match(r"\{[\w-]+\}", block.language), "the fence names no language of tests/pages.py"
    match block.language:
        case "csv":
            rows = list(csv.reader(io.StringIO(block.code)))
            assert len({len(row) for row in rows}) == 1
        case "yaml":
            assert yaml.safe_load(block.code) is not None
        case "text":
            assert f"{name_of(block.page)}: {block.first}" in SAMPLES


def test_samples_are_in_the_pages() -> None:
    assert {f"{name_of(page)}: {block.first}" for page in PAGES for block in blocks(page, "text")} == SAMPLES


# --- what pages name ----------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Also to the heading that they name. A link has a text: without one, viewers other than the site show nothing."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for shown, target, anchor in re.findall(r"\[([^\]\[]*)\]\(([^)#\s]*)(?:#([\w-]+))?\)", text):
        assert shown, f"{page.name} has a link to {target} without a text"
        if "://" not in target:
            other = page.parent / target if target else page
            assert other.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(other), f"{target} has no heading {anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_presets_named_exist(page: Path) -> None:
    for name in re.findall(r"--preset ([\w-]+)", page.read_text(encoding="utf-8")):
        if name != "auto":
            get_preset(name)


def test_the_tests_that_are_named_exist() -> None:
    """In the table of promises; and in all pages, with their folder."""
    trust = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8").split("\n## ")[0]
    named = {f"tests/{path}" for path in re.findall(r"`((?:\w+/)*test_\w+\.py)`", trust)}
    for page in PAGES:
        named |= set(re.findall(r"`(tests/(?:\w+/)*test_\w+\.py)`", page.read_text(encoding="utf-8")))
    assert len(named) > 20
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert "@@" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_lines_of_prose_have_at_most_120_characters(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith(("|", "!["))]
    assert not long
