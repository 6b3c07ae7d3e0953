"""The page of the published tables, docs/paper.md."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.experiments import all_presets, all_tables
from revgnn.experiments.report.page import paper_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "paper.md"


def test_the_page_is_what_its_command_writes() -> None:
    """If this fails: revgnn paper --markdown > docs/paper.md"""
    answer = CliRunner().invoke(app, ["paper", "--markdown"])
    assert answer.exit_code == 0, answer.output
    assert PAGE.read_text(encoding="utf-8") == answer.stdout == paper_markdown()


def test_it_has_every_published_figure_note_and_source() -> None:
    text = paper_markdown()
    for table in all_tables():
        for row in (*table.rows, *table.others):
            for figure in row.published.figures:
                if figure.name in ("parameters", "score", "valid_score", "memory_gb", "train_days"):
                    (line, *_) = (
                        line for line in text.splitlines() if line.startswith(f"| {row.name} |") and figure.printed in line
                    )
                    assert figure.source.place in line
                    assert figure.printed + "*" in line or "±" in line or not figure.source.second_hand
        assert all(comparison.figure.printed in text for comparison in table.comparisons)
    words = " ".join(text.split())
    for preset in all_presets():
        assert all(note in words for note in preset.notes)
        assert not preset.notes or f"`{preset.name}`" in text
