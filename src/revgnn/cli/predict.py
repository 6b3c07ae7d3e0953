"""`revgnn predict`: write predictions of a run's best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path, typer.Option(help="The .npz file to write.")],
    views: Annotated[int | None, typer.Option(help="Partitions whose logits are averaged. Default: the run's own.")] = None,
    parts: Annotated[int | None, typer.Option(help="Parts of each partition; 1: the whole graph. Default: the run's own.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data, if it has moved.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: the run's own.")] = None,
) -> None:
    """Write logits and probabilities of every node to an .npz file: arrays logits, probabilities, nodes, splits."""
    from revgnn.train import predict_run

    shapes = predict_run(run, out, views=views, parts=parts, root=root, device=device)
    typer.echo(f"{out}: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()))
