"""`revgnn train`: train a run, or several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revgnn.cli.progress import progress
from revgnn.cli.signals import go_on_command, stop_on_signals
from revgnn.cli.text import bytes_text, score_text, seconds_text, table

if TYPE_CHECKING:
    from revgnn.train import Result, RunConfig


def train(
    dataset: Annotated[
        str | None, typer.Argument(help="Name (revgnn datasets), or path of an .npz file or folder.", show_default=False)
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A run by name (revgnn presets). Default: the one named like the data set, else revgnn-28.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A run as YAML, such as the config.yaml of another.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key: model.depth=28.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch a published data set that is not there.")] = False,
    split: Annotated[str | None, typer.Option(help="Which of the data set's splits, or all: one run each.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, dropout and partitions.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several, such as 0,1,2: one run each.")] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Learn from this finished run, or from the run of this sweep with the same split and seed.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training nodes.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    amp: Annotated[str | None, typer.Option(help="Precision of the forward pass: none, bf16 or fp16.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/DATASET-PRESET.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    compare_memory: Annotated[
        bool | None, typer.Option("--compare-memory/--no-compare-memory", help="Also measure one step with every layer stored.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
) -> None:
    """Train a network on a data set.

    Example: revgnn train tolokers --root DIR --preset revgnn-28 --out runs/a
    """
    from revgnn.experiments.presets.compose import compose, default_folder

    if resume and out is not None and dataset is preset is config is None:
        from revgnn.train import RunFolder

        config = RunFolder(out).existing_config_file()
    run = compose(
        dataset,
        preset=preset,
        config_file=config,
        root=root,
        download=download,
        teacher=teacher,
        settings=settings or (),
        epochs=epochs,
        seed=seed,
        device=device,
        amp=amp,
    )
    # What is wrong with the configuration has been said by now; only what follows needs torch.
    from revgnn.train import Interrupted, sweep
    from revgnn.train import train as train_once
    from revgnn.train.sweeps import choose_seeds, choose_splits

    splits, numbers = choose_splits(run, split), choose_seeds(run, seeds)
    folder = out or default_folder(run)
    try:
        with stop_on_signals() as stop, progress(quiet=quiet) as hooks:
            if split == "all" or seeds is not None:
                summary = sweep(
                    run, folder, splits=splits, seeds=numbers, resume=resume, overwrite=overwrite, hooks=hooks, should_stop=stop
                )
                typer.echo(_summary_text(summary, folder))
                return
            run = run.replace({"data.split": splits[0]})
            result = train_once(run, folder, resume=resume, overwrite=overwrite, hooks=hooks, should_stop=stop)
    except Interrupted as interrupted:
        typer.echo(f"{interrupted} Go on with: {go_on_command()}", err=True)
        raise typer.Exit(stop.exit_code) from None
    typer.echo(_result_text(result, folder))
    if compare_memory or (compare_memory is None and run.preset == "quickstart"):
        typer.echo(_footprint_text(run))


def _result_text(result: Result, folder: Path) -> str:
    lines = {
        "best valid": f"{score_text(result.valid)} {result.metric}, epoch {result.best_epoch} of {result.epochs}",
        "test": f"{score_text(result.test)} with the weights of that epoch",
        "peak memory": f"{bytes_text(result.peak_bytes)} in the first training epoch, above weights and data",
        "time": f"{seconds_text(result.seconds_per_epoch)} an epoch (median)",
        "parameters": f"{result.parameters:,}",
        "results": str(folder),
    }
    if result.solve_failures:
        lines["solver"] = f"{result.solve_failures} solves did not converge; metrics.jsonl has them by epoch"
    if result.skipped_steps:
        lines["fp16"] = f"{result.skipped_steps} steps skipped, as gradients overflowed"
    return "\n".join(f"{name:<12} {value}" for name, value in lines.items())


def _summary_text(summary: dict[str, Any], folder: Path) -> str:
    rows = [
        (
            line["folder"],
            score_text(line["valid"]),
            score_text(line["test"]),
            line["best_epoch"],
            seconds_text(line["seconds_per_epoch"]),
        )
        for line in summary["results"]
    ]
    text = table(("run", "valid", "test", "epoch", "time/epoch"), rows)
    for name in ("valid", "test"):
        spread = summary[name]
        deviation = "" if spread["std"] is None else f" ± {spread['std']:.4f}"
        text += f"\n{name:<12} {score_text(spread['mean'])}{deviation} {summary['metric']}, {summary['runs']} runs"
    return f"{text}\n{'results':<12} {folder / 'summary.json'}"


def _footprint_text(run: RunConfig) -> str:
    from revgnn.train import compare_footprint

    need = compare_footprint(run)
    how = (
        "measured on one step"
        if need.stored_is_measured
        else f"extrapolated from {need.shallower[0]} and {need.shallower[1]} layers"
    )
    return (
        f"{'one step':<12} {bytes_text(need.peak_bytes)} peak by {need.gradient}; with every layer stored "
        f"{bytes_text(need.stored_bytes)} ({how}), {need.stored_bytes / max(need.peak_bytes, 1):.1f} times as much"
    )
