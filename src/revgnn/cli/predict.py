"""`revgnn predict`: write the predictions of a run's best weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from revgnn.cli.options import (
    AllowChangedData,
    Amp,
    AsJson,
    Cut,
    Data,
    Device,
    Edges,
    NodeFeatures,
    OnBadRows,
    Pairs,
    Parallel,
    Parts,
    RankTimeout,
    Root,
    RunOrSweep,
    Views,
)
from revgnn.cli.phases import phases
from revgnn.cli.processes import processes, share_options
from revgnn.cli.text import facts, line_width, wrapped
from revgnn.cli.waiting import choose_waiting


def predict(
    context: typer.Context,
    run: RunOrSweep,
    out: Annotated[Path, typer.Option(help="The file to write: .csv, .parquet, .jsonl or .npz.")],
    data: Data = None,
    edges: Edges = None,
    on_bad_rows: OnBadRows = None,
    pairs: Pairs = None,
    views: Views = None,
    parts: Parts = None,
    root: Root = None,
    node_features: NodeFeatures = None,
    device: Device = None,
    amp: Amp = None,
    spread: Annotated[bool, typer.Option("--spread", help="Also write standard deviations over the views.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Also write probabilities calibrated on the validation nodes.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    allow_changed_data: AllowChangedData = False,
    parallel: Parallel = "parts",
    cut: Cut = "contiguous",
    rank_timeout: RankTimeout = 600.0,
    as_json: AsJson = False,
) -> None:
    """Write predictions for all nodes: ids, predicted class, a probability for each class, split.

    Example: revgnn predict runs/a --data new/ --out predictions.csv
    """
    choose_waiting()
    team = context.with_resource(processes(rank_timeout))
    leads = team is None or team.leads
    with phases(silent=not leads) as say:
        say("loading PyTorch")
        from revgnn.cli.tables import bad_rows, read_lines
        from revgnn.train import LoadOptions, predict_run

        options = LoadOptions(
            views=views,
            parts=parts,
            data=data,
            edges=edges,
            on_bad_rows=bad_rows(on_bad_rows),
            pairs=pairs,
            root=root,
            node_features=node_features,
            device=device,
            amp=amp,
            allow_changed_data=allow_changed_data,
            **share_options(team, parallel, cut),
        )
        say(f"reading {run} and its data, predicting")
        report = predict_run(run, out, options, spread=spread, calibrate=calibrate, overwrite=overwrite)
    if not leads:
        return
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    width = line_width()
    if "arrays" in report:
        text = f"{out}: " + ", ".join(f"{name} {tuple(shape)}" for name, shape in report["arrays"].items())
    else:
        text = f"{out}: {report['rows']:,} rows of {_shortened(report['columns'])}"
    for line in (text, *read_lines(report)):
        typer.echo(wrapped(line, width, "  "))
    if calibrate:
        typer.echo(_calibration_text(report["calibration"], width))


def _calibration_text(report: dict[str, Any], width: int | None) -> str:
    temperatures = report["temperatures"]
    value = f"{temperatures[0]:.3f}" if len(temperatures) == 1 else f"{min(temperatures):.3f} to {max(temperatures):.3f}"
    lines, notes = {"temperature": f"{value}, fitted on the validation nodes"}, []
    for name in ("valid", "test"):
        split = report[name]
        if split["nll_before"] is not None:
            lines[name] = (
                f"calibration error {split['error_before']:.4f} -> {split['error_after']:.4f}, "
                f"negative log-likelihood {split['nll_before']:.4f} -> {split['nll_after']:.4f}"
            )
    for key, reason in (
        ("one_class", "validation labels of one class only; not calibrated"),
        (
            "at_bound",
            "temperature at its bound: too few validation labels, no error in them, or predictions no better than chance",
        ),
    ):
        if report[key]:
            notes.append(f"{len(report[key])} of {len(temperatures)} tasks: {reason} ({_shortened(report[key])})")
    return "\n".join([facts(lines, width), *(wrapped(note, width, "  ") for note in notes)])


def _shortened(names: list[object]) -> str:
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")
