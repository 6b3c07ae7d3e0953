"""The page as a whole: it asks for nothing, nothing of the user's runs in it, every section is there, its size is bounded."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from statistics import fmean, stdev
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from revgnn.experiments.run_files.found import read_runs
from revgnn.experiments.run_files.terminal import record, view
from revgnn.experiments.run_report.compared import depth_study, differing, groups
from revgnn.experiments.run_report.report import PAGE, Report, Wishes, default_out, write_report
from revgnn.train.config.errors import ConfigError
from tests.experiments.run_report.conftest import HOSTILE, small

RECORDED = Wishes(details=0, png=False)
"""Only what the runs recorded."""


class Outline(HTMLParser):
    """The tags, attributes, headings and scripts of a page; `open` is empty if every element that was begun has ended."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def outline(report: Report) -> Outline:
    return Outline(report.page.read_text(encoding="utf-8"))


def assert_asks_for_nothing(found: Outline) -> None:
    assert not found.open
    assert not {tag for tag, _ in found.tags} & {
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "image",
        "use",
        "foreignobject",
    }
    for tag, attributes in found.tags:
        assert not {"src", "srcset", "style", "xlink:href", "action", "background"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("href") or "#").startswith("#")
    styles = "".join(found.texts["style"])
    assert "url(" not in styles
    assert "@import" not in styles
    (script,) = found.texts["script"]
    policy = next(a["content"] for tag, a in found.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_one_run_with_everything(cora: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(cora, run)
    wishes = Wishes(views=[(1, 1), (1, 2), (2, 2)], memory=True)
    report = write_report([run], default_out([run]), wishes)
    assert (report.page, report.notes, report.runs) == (run / "report" / PAGE, [], 1)
    found = outline(report)
    assert_asks_for_nothing(found)
    assert found.texts["h2"] == [
        "Learning curves",
        "Score, memory and depth",
        "What the weights say",
        "How to repeat it",
        "Machine and versions",
    ]
    names = ["loss", "scores", "views", "step-memory-depth", "depth-activations", "depth-gradients", "calibration", "confusion"]
    assert report.pictures == [f"{name}.{kind}" for name in names for kind in ("svg", "png")]
    assert sum(tag == "figure" for tag, _ in found.tags) == len(names)
    for name in names:
        ElementTree.parse(run / "report" / f"{name}.svg")
        assert (run / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    text = report.page.read_text(encoding="utf-8")
    assert f"revgnn train --config {run}/config.yaml" in text
    result = json.loads((run / "result.json").read_text())
    assert f"{result['test']:.4f}" in text
    # what was measured is kept, and is there the next time without being asked for
    again = write_report([run], default_out([run]), Wishes(png=False))
    assert again.pictures == [f"{name}.svg" for name in names]
    assert not list((run / "report").glob("*.png"))


def test_without_matplotlib(cora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    report = write_report([cora], tmp_path / "r", Wishes(details=0))
    assert report.pictures == ["loss.svg", "scores.svg"]
    assert "revgnn[plots]" in report.page.read_text(encoding="utf-8")


def test_many_runs(study: Path, tmp_path: Path) -> None:
    report = write_report([study], tmp_path / "r", Wishes(details=2, png=False))
    found = outline(report)
    assert_asks_for_nothing(found)
    assert found.texts["h2"][:3] == ["Runs", "Learning curves", "Score, memory and depth"]
    shown = {name.removesuffix(".svg") for name in report.pictures}
    assert {"runs-loss", "runs-valid", "score-memory", "memory-depth", "score-depth", "tasks", "tasks-2", "calibration-2"} <= shown
    rows = re.findall(r'<tr( class="best")?><th scope="row">', report.page.read_text())
    assert len(rows) == 6 + 4  # each run, and each group of runs
    buttons_without_script = [tag for tag, _ in found.tags if tag == "button"]
    assert not buttons_without_script


def test_what_runs_differ_in(study: Path) -> None:
    runs = read_runs([study])
    assert differing(runs) == ["model.depth", "model.gradient", "seed"]
    by_name = {group.name: group for group in groups(runs)}
    assert set(by_name) == {f"depth {depth}, {gradient}" for depth in (2, 4) for gradient in ("reversible", "backprop")}
    pair = by_name["depth 4, reversible"]
    scores = [run.score("test") for run in runs if run.name in ("reversible-4-0", "reversible-4-1")]
    assert pair.mean("test") == fmean(scores)
    assert pair.deviation("test") == stdev(scores)
    assert by_name["depth 4, backprop"].deviation("test") is None
    # the same weights, another price
    assert by_name["depth 4, backprop"].mean("valid") == runs[[r.name for r in runs].index("reversible-4-0")].score("valid")
    assert by_name["depth 4, backprop"].peak_bytes > pair.peak_bytes


def test_a_study_of_depths_compares_what_differs_in_depth_alone(study: Path, tmp_path: Path) -> None:
    """A wider network needs more memory, which is not due to its depth."""
    for run in study.glob("*-*-*"):
        shutil.copytree(run, tmp_path / run.name)
    wide = tmp_path / "wide"
    shutil.copytree(study / "reversible-2-0", wide)
    (wide / "config.yaml").write_text((wide / "config.yaml").read_text().replace("channels: 16", "channels: 64"))
    unfinished = tmp_path / "unfinished"
    shutil.copytree(study / "reversible-2-0", unfinished, ignore=shutil.ignore_patterns("result.json"))
    (unfinished / "config.yaml").write_text((unfinished / "config.yaml").read_text().replace("depth: 2", "depth: 8"))
    runs = read_runs([tmp_path])
    assert len({run.config.model.channels for run in runs}) == 2
    found = depth_study(runs)
    assert {run.path.name for group in found for run in group.runs} == {run.name for run in study.glob("*-*-*")}
    assert len(found) == 4
    assert depth_study([run for run in runs if run.config.model.depth == 2]) == []


def test_hostile_names(hostile: Path, tmp_path: Path) -> None:
    report = write_report([hostile], tmp_path / "r", Wishes(png=False))
    found = outline(report)
    assert_asks_for_nothing(found)
    assert not report.notes
    text = report.page.read_text(encoding="utf-8")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    assert "confusion.svg" in report.pictures
    titles = "".join(found.texts["title"])
    assert f"{HOSTILE[0]} as {HOSTILE[0]}" in titles
    assert found.texts["h1"] == ["Run run<script>alert(2)<b>: shop<img src=x>"]


def test_an_equilibrium(equilibrium: Path, tmp_path: Path) -> None:
    report = write_report([equilibrium], tmp_path / "r", Wishes(png=False))
    assert {"solver-residuals.svg", "solver-steps.svg", "solve.svg"} <= set(report.pictures)


def test_the_page_is_bounded(tmp_path: Path) -> None:
    """30 runs of 2,000 epochs each."""
    lines = [
        json.dumps(
            {"epoch": n, "loss": 1 / n, "valid": 0.5 + (n * 7919 % 1000) / 3000, "test": 0.5, "seconds": 1.0, "peak_bytes": 10**6}
        )
        for n in range(1, 2001)
    ]
    for seed in range(30):
        folder = tmp_path / "runs" / f"a-run-with-a-rather-long-name-{seed}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(small({"name": "synthetic"}, seed=seed, epochs=2000).to_yaml())
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    report = write_report([tmp_path / "runs"], tmp_path / "r", RECORDED)
    assert report.runs == 30
    assert report.page.stat().st_size < 400_000


def test_runs_that_have_not_begun_or_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(small({"name": "synthetic"}).to_yaml())
    report = write_report([tmp_path / "a"], tmp_path / "r", Wishes(png=False))
    assert outline(report).texts["h2"] == ["How to repeat it"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.yaml").write_text("model: {depth: <b>}")
    report = write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "r", Wishes(png=False))
    text = report.page.read_text(encoding="utf-8")
    assert "model.depth" in text
    assert "<b>" not in text


NUMBERS = st.one_of(st.none(), st.integers(), st.floats(), st.just(10**400), st.just(1e308), st.just(-1e308))
ANYTHING = st.recursive(
    st.one_of(NUMBERS, st.booleans(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
FIELDS = ("loss", "train", "valid", "test", "seconds", "evaluation_seconds", "peak_bytes", "solves", "evaluation_solves")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    epochs=st.lists(st.dictionaries(st.sampled_from(FIELDS), st.one_of(NUMBERS, ANYTHING), max_size=9), max_size=4),
    result=st.dictionaries(
        st.sampled_from(("dataset", "metric", "valid", "test", "peak_bytes", "parameters", "stopped")), ANYTHING
    ),
    environment=ANYTHING,
)
def test_whatever_the_files_of_runs_hold(
    epochs: list[dict[str, object]], result: dict[str, object], environment: object, study: Path, tmp_path: Path
) -> None:
    """A page and a view in the terminal come from any JSON in a run's files."""
    for name, is_finished in (("a", True), ("b", False)):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(study / "reversible-2-0" / "config.yaml", run / "config.yaml")
        lines = [json.dumps({**line, "epoch": n}) for n, line in enumerate(epochs, start=1)]
        (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
        (run / "environment.json").write_text(json.dumps(environment))
        (run / "result.json").unlink(missing_ok=True)
        if is_finished:
            (run / "result.json").write_text(json.dumps(result))
    for folders in ([tmp_path / "runs"], [tmp_path / "runs" / "a"]):
        assert_asks_for_nothing(outline(write_report(folders, tmp_path / "r", RECORDED)))
        runs = read_runs(folders)
        console = Console(file=StringIO(), width=60)
        console.print(view(runs, console, height=20))
        assert json.loads(json.dumps([record(run) for run in runs], allow_nan=False))


def test_data_that_are_gone_are_a_note(cora: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(cora, run)
    (run / "details.json").unlink(missing_ok=True)
    report = write_report([run], tmp_path / "r", Wishes(png=False, root=tmp_path / "nowhere"))
    assert report.pictures == ["loss.svg", "scores.svg"]
    (note,) = report.notes
    assert note.startswith("Calibration, confusion, depth and the like of run are missing: ")
    assert note.split(": ", 1)[1] in " ".join(outline(report).texts["p"])


def test_a_report_replaces_the_last_one_and_nothing_else(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    write_report([study], out, RECORDED)
    (out / "mine.svg").write_text("keep")
    single = write_report([study / "reversible-2-0"], out, RECORDED)
    assert {path.name for path in out.iterdir()} == {PAGE, "report.json", "mine.svg", *single.pictures}
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="holds no earlier report"):
        write_report([study], other, RECORDED)
    with pytest.raises(ConfigError, match="is a file"):
        write_report([study], out / PAGE, RECORDED)
    (out / "report.json").write_text('{"files": ["../../etc/passwd", "mine.txt", 3]}')
    write_report([study], out, RECORDED)


def test_where_a_report_goes(tmp_path: Path) -> None:
    assert default_out([tmp_path / "a"]) == tmp_path / "a" / "report"
    assert default_out([tmp_path / "x" / "a", tmp_path / "x" / "b"]) == tmp_path / "x" / "report"
