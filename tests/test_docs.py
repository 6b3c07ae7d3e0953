"""The code in the documentation runs, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from revgnn import Graph
from revgnn.experiments import get_preset

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKDOWN = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "src").rglob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for n, code in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            found.append((f"{page.name}-{n}", code))
    return found


@pytest.mark.parametrize("code", [code for name, code in blocks("python") if name.startswith("README")])
def test_python_of_the_readme_runs(code: str) -> None:
    """On a graph of 20 nodes, with fewer layers than it says."""
    code = re.sub(r"range\(\d\d+\)", "range(10)", code)
    edge_index = torch.randint(0, 20, (2, 60))
    names = {"edge_index": edge_index, "num_nodes": 20, "h": torch.randn(20, 64, requires_grad=True)}
    before = names["h"]
    exec(compile(code, "README.md", "exec"), names)
    names["h"].sum().backward()
    assert names["h"].shape == (20, 64)
    assert before.grad is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_presets_named_exist(page: Path) -> None:
    for name in re.findall(r"--preset ([\w-]+)", page.read_text(encoding="utf-8")):
        get_preset(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert "@@" not in page.read_text(encoding="utf-8")


def test_the_model_of_the_guide() -> None:
    code = next(code for name, code in blocks("python") if name.startswith("guide") and "build_model" in code)
    graph = Graph.from_edge_index(torch.randint(0, 20, (2, 60)), 20, torch.rand(60, 8))
    names = {"graph": graph, "x": torch.rand(20, 8), "species": torch.zeros(20, dtype=torch.long)}
    exec(compile(code.replace("depth=1001", "depth=11"), "guide.md", "exec"), names)
    assert names["logits"].shape == (20, 112)


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda p: p.name)
def test_lines_of_prose_have_at_most_120_characters(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith(("|", "!["))]
    assert not long


@pytest.mark.slow
def test_the_code_about_plans() -> None:
    names: dict[str, Any] = {}
    for code in [code for name, code in blocks("python") if name.startswith("plan.md")]:
        exec(compile(code, "plan.md", "exec"), names)
    assert names["planned"].run.parameters == 68_471_608
    assert names["planned"].deepest.needed_bytes <= 11e9


def test_the_code_about_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order: later blocks use names of earlier ones."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for name, code in blocks("python"):
        if name.startswith("python"):
            exec(compile(code, "python.md", "exec"), names)
    assert names["classes"].shape == names["of_another_graph"].shape == (200,)


def test_the_code_about_interoperation() -> None:
    """In order: later blocks use names of earlier ones."""
    names: dict[str, object] = {}
    for name, code in blocks("python"):
        if name.startswith("interop"):
            exec(compile(code, "interop.md", "exec"), names)
    assert names["before"].shape == (20, 32)
