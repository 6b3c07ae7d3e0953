"""The sections on ablations of the page of studies: what lets deep networks train."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report.records import Record, listed, network, notes_beside, origin_of_study, table
from revgnn.experiments.depth.statistics import Mean


def section(file: Path) -> list[str]:
    """Return the section on one ablation.

    Raises:
        ValueError: if the file is damaged.
    """
    try:
        record: Record = json.loads(file.read_text(encoding="utf-8"))
        rows = [_row(cell, record) for cell in record["cells"]]
        metric = next(cell["metric"] for cell in record["cells"] if "metric" in cell)
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ValueError(
            f"{file} cannot be read: it is damaged ({error}); python -m benchmarks ablation writes it again."
        ) from None
    command = record["command"]
    about = (
        f"`{record['data']}`: {network(record['run'])}; splits {listed(record['splits'])}, seeds {listed(record['seeds'])}; "
        f"made by `python -m benchmarks ablation --data {record['data']} --preset {command['preset']} "
        + " ".join(f"--set {setting}" for setting in command["settings"])
        + f" --epochs {command['epochs']}`. Scores are those of the test nodes in the epoch with the best validation score: mean ± "
        "deviation. A gain is over the run as it is, with as many layers, over runs of the same split and seed, with its 95 % t "
        "interval. The state is the largest magnitude after any layer, with the best weights."
    )
    shares = ", ".join(f"{share:.0%}" for share in record["shares"])
    head = ["change", "layers", metric, "gain", f"training loss after {shares} of the epochs", "state"]
    name = file.parent.name
    return [f"## {name}: what lets depth train", about, table(head, rows), *notes_beside(file), origin_of_study(record)]


def _row(cell: Record, record: Record) -> list[object]:
    settings = " ".join(f"`{key}={value}`" for key, value in cell["settings"].items())
    name = f"{cell['change']}{': ' + settings if settings else ''}"
    if "diverged" in cell:
        return [name, cell["depth"], "diverged", "", "", ""]
    mean = Mean.of([run[record["part"]] for run in cell["runs"]])
    assert mean is not None
    score = f"{mean.mean:.4f}" + ("" if mean.std is None else f" ± {mean.std:.4f}")
    losses = ", ".join(_loss(cell["losses"], n) for n in range(len(record["shares"])))
    state = f"{cell['largest_state']:.3g}{', coarser grid' if cell['coarsened_bits'] else ''}"
    return [name, cell["depth"], score, gain_text(cell.get("gain")), losses, state]


def gain_text(gain: Record | None) -> str:
    """Return a gain with its interval."""
    if gain is None:
        return ""
    interval = "" if gain["low"] is None else f" ({gain['low']:+.4f} to {gain['high']:+.4f})"
    return f"{gain['gain']:+.4f}{interval}"


def _loss(losses: Sequence[Sequence[float | None]], n: int) -> str:
    known = [value for each in losses if (value := each[n]) is not None]
    return f"{sum(known) / len(known):.3f}" if known else "-"
