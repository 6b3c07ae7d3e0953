"""The page of all committed depth studies and ablations, docs/studies.md, as Markdown.

python -m benchmarks studies > docs/studies.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import ablations
from benchmarks.report.records import Record, filled, listed, megabytes, network, notes_beside, number, origin_of_study, table
from revgnn.experiments.depth.verdict import between_families, family_verdicts
from revgnn.experiments.run_files.studies import learning_rate_of, read_study

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "studies"

INTRODUCTION = """\
Studies by `revgnn depth` ([depth.md](depth.md)), made by `python -m benchmarks studies` from the files
`docs/studies/*/depth.json`, which hold every run; `revgnn report docs/studies/NAME` draws one, and the curve here is
the `score-by-depth.svg` of its pictures. Learning rate and dropout of each depth were chosen by validation scores, on
data without test labels, unless the section says otherwise. Scores are those of the test nodes in the epoch with the
best validation score: mean and 95 % t interval over runs. Reach is the number of hops that hold 90 % of the influence
on a node's outputs, in the best run. `docs/studies/NAME/about.txt` has what the figures do not say."""


def page(folder: Path = FOLDER) -> str:
    """Return the page.

    Raises:
        ValueError: if there is no study, or one is damaged.
    """
    files = sorted(folder.glob("*/depth.json"))
    if not files:
        raise ValueError(f"there are no studies in {folder}; run `revgnn depth` first.")
    blocks = ["# Depth studies", INTRODUCTION]
    for file in files:
        blocks += section(file)
    for file in sorted(folder.glob("*/ablation.json")):
        blocks += ablations.section(file)
    return filled(blocks)


def section(file: Path) -> list[str]:
    """Return the section on one study."""
    study = read_study(file.parent)
    assert study is not None
    plan = study["plan"]
    about = f"`{study['data']}`: {network(study['run'])}; splits {listed(plan['splits'])}, seeds {listed(plan['seeds'])}."
    name = file.parent.name
    blocks = [f"## {name}", about, f"![{name}: {study['metric']} by depth](figures/{name}.svg)", _table(study)]
    between = between_families(study["cells"], study["compared"], larger_is_better=study["larger_is_better"])
    blocks += family_verdicts(between).values()
    for family, found in study["families"].items() if len(plan["depths"]) > 1 else ():
        blocks.append(f"{'**' + family + '.** ' if len(study['families']) > 1 else ''}{found['verdict']}")
    return [*blocks, *notes_beside(file), origin_of_study(study)]


def _table(study: Record) -> str:
    rows = []
    for cell in study["cells"]:
        rate = learning_rate_of(study, cell)
        mean, chosen, reasons = cell[study["compared"]], cell["chosen"] or {}, cell["reasons"] or {}
        score = "none" if mean is None else f"{mean['mean']:.4f}"
        interval = "" if mean is None or mean["low"] is None else f"{mean['low']:.4f} to {mean['high']:.4f}"
        influence = reasons.get("influence")
        rows.append(
            [
                cell["family"],
                cell["depth"],
                f"{'' if rate is None else f'{rate:.3g}'}, {chosen.get('model.dropout', '')}",
                len(cell["runs"]),
                score,
                interval,
                "" if cell["peak_bytes"] is None else megabytes(cell["peak_bytes"]),
                "" if cell["seconds_per_epoch"] is None else f"{number(cell['seconds_per_epoch'])} s",
                "" if influence is None else influence["hops_of_most"],
            ]
        )
    head = ["network", "layers", "rate, dropout", "runs", study["metric"], "interval", "peak", "an epoch", "reach, hops"]
    return table(head, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks studies", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--studies", type=Path, default=FOLDER, help="folder of the studies")
    print(page(parser.parse_args(argv).studies), end="")
    return 0
