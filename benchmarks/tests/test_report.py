"""docs/performance.md is made from the committed results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.harness import RESULTS
from benchmarks.report import studies
from benchmarks.report.command import page
from benchmarks.report.records import last_of_each, number, origin, read, spread

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails: python -m benchmarks report > docs/performance.md"""
    assert main(["report"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8")


def test_the_page_of_studies_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails: python -m benchmarks studies > docs/studies.md"""
    assert main(["studies"]) == 0
    assert capsys.readouterr().out == PAGE.with_name("studies.md").read_text(encoding="utf-8")


def test_missing_and_damaged_studies_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no studies in"):
        studies.page(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "depth.json").write_text("{")
    with pytest.raises(ValueError, match=r"depth\.json cannot be read"):
        studies.page(tmp_path)


def test_every_file_of_results_is_on_the_page() -> None:
    """By the origin of its last line. Two versions of revgnn are compared for a change, not for users; docs/gpu.md,
    docs/many-processes.md and docs/projections.md have theirs."""
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    for path in sorted(RESULTS.glob("*.jsonl")):
        if path.stem not in ("versions", "gpu", "ranks", "projections"):
            assert origin(read(path.stem, RESULTS)[-1]) in text


def test_a_new_line_changes_the_page(tmp_path: Path) -> None:
    for path in RESULTS.glob("*.jsonl"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    last = json.loads((RESULTS / "strategies.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    last["seconds"]["Reversible, grid"] = {"median": 7.77, "low": 7.0, "high": 8.0}
    with open(tmp_path / "strategies.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(last) + "\n" + json.dumps({**last, "commit": "0", "stopped_by": "killed"}) + "\n")
    assert "| `Reversible, grid` | 7.77 (7.00 to 8.00) |" in page(tmp_path)


def test_missing_and_damaged_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no results .*step\.jsonl; run `python -m benchmarks step`"):
        page(tmp_path)
    (tmp_path / "step.jsonl").write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(ValueError, match=r"line 2 of .*step\.jsonl is damaged"):
        page(tmp_path)


def test_figures() -> None:
    assert [number(v) for v in (0.0, 0.13649, 12.0, 99.96, 1286.7, 2e-7)] == ["0", "0.136", "12.0", "100", "1,287", "2.00e-07"]
    assert spread([3.0]) == "3.00"
    assert spread([1.0, 2.0, 4.0], 1e3) == "2,000 (1,000 to 4,000)"


def test_the_last_of_each_kind() -> None:
    records = [{"k": 1, "v": 1}, {"k": 2, "v": 2}, {"k": 1, "v": 3}]
    assert last_of_each(records, lambda r: r["k"]) == [{"k": 1, "v": 3}, {"k": 2, "v": 2}]
