"""`revgnn predict`: write predictions of a run's best weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path, typer.Option(help="The .npz file to write.")],
    views: Annotated[int | None, typer.Option(help="Partitions whose logits are averaged. Default: the run's own.")] = None,
    parts: Annotated[int | None, typer.Option(help="Parts of each partition; 1: the whole graph. Default: the run's own.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data, if it has moved.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: the run's own.")] = None,
    amp: Annotated[
        str | None, typer.Option(help="Precision of the forward pass: none, bf16 or fp16. Default: the run's own.")
    ] = None,
    spread: Annotated[bool, typer.Option("--spread", help="Also write standard deviations over the views.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Also write probabilities calibrated on the validation nodes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write predictions for every node to an .npz file: arrays logits, probabilities, nodes, splits, and what is asked for."""
    from revgnn.train import predict_run

    report = predict_run(run, out, views=views, parts=parts, root=root, device=device, amp=amp, spread=spread, calibrate=calibrate)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"{out}: " + ", ".join(f"{name} {tuple(shape)}" for name, shape in report["arrays"].items()))
    if calibrate:
        typer.echo(_calibration_text(report["calibration"]))


def _calibration_text(report: dict[str, Any]) -> str:
    temperatures = report["temperatures"]
    spread = f"{temperatures[0]:.3f}" if len(temperatures) == 1 else f"{min(temperatures):.3f} to {max(temperatures):.3f}"
    lines = [f"{'temperature':<12} {spread}, fitted on the validation nodes"]
    for name in ("valid", "test"):
        part = report[name]
        if part["nll_before"] is not None:
            lines.append(
                f"{name:<12} calibration error {part['error_before']:.4f} -> {part['error_after']:.4f}, "
                f"likelihood loss {part['nll_before']:.4f} -> {part['nll_after']:.4f}"
            )
    for key, why in (
        ("one_class", "validation labels of one class only, left as they were"),
        ("at_bound", "best temperature is out of bounds: too few validation labels, or told apart without an error or not at all"),
    ):
        if report[key]:
            lines.append(f"{len(report[key])} of {len(temperatures)} tasks: {why} ({_shortened(report[key])})")
    return "\n".join(lines)


def _shortened(names: list[object]) -> str:
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")
