"""`revgnn tune`: compare networks on a graph within a budget of time, and keep the best."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revgnn.cli import options
from revgnn.cli.signals import resume_command, stop_on_signals
from revgnn.cli.text import score_text, seconds_text, table
from revgnn.cli.train import choose_run
from revgnn.cli.waiting import choose_waiting

if TYPE_CHECKING:
    from revgnn.experiments.tune.halving import Record
    from revgnn.train.run.events import Event

Budget = Annotated[str, typer.Option(metavar="TIME", help="Time to train, over all calls, such as 30m, 2h or 1h30m.")]
TuneOut = Annotated[Path | None, typer.Option(help="Folder of the search. Default: runs/DATASET-tune.")]
TuneResume = Annotated[bool, typer.Option("--resume", help="Go on with the search in --out; a larger --budget gives it more time.")]


def tune(
    dataset: options.Dataset,
    budget: Budget = "30m",
    preset: options.Preset = "auto",
    settings: options.Settings = None,
    root: options.Root = None,
    label: options.Label = None,
    split: options.Split = None,
    seed: options.Seed = None,
    epochs: options.Epochs = None,
    device: options.Device = None,
    out: TuneOut = None,
    resume: TuneResume = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare depths, convolutions, widths and rates by their validation scores, and keep the best run in OUT/best.

    Example: revgnn tune graph.npz --budget 30m
    """
    from revgnn.experiments.compose import AUTO, compose
    from revgnn.experiments.tune.halving import seconds_of
    from revgnn.experiments.tune.space import candidates

    choose_waiting()
    seconds = seconds_of(budget)
    changes = {"epochs": epochs, "seed": seed, "device": device, "data.split": split}
    changes["data.labels"] = label or None
    run_of = partial(compose, dataset, root=root, settings=settings or (), changes=changes)
    run = run_of(preset=preset)
    if run.preset == AUTO:
        run = choose_run(run, run_of, quiet=quiet)
    from revgnn.experiments.tune.halving import tune as search
    from revgnn.train.datasets import load_dataset

    assert run.data is not None  # `compose` refuses a run without data
    folder = Path("runs") / f"{Path(run.data.name).stem}-tune" if out is None else out
    names = candidates(run, has_edge_features=load_dataset(run.data).num_edge_features > 0)
    with stop_on_signals() as stop:
        hooks = [] if quiet else [_Lines()]
        record = search(run, names, folder, budget=seconds, resume=resume, hooks=hooks, should_stop=stop)
    typer.echo(_table_text(record))
    typer.echo(_best_text(record, folder))
    if not record.finished:
        typer.echo(
            f"The search has not ended. Go on with: {resume_command(folder)}, and a larger --budget if it is spent.", err=True
        )
    if stop():
        raise typer.Exit(stop.exit_code)


class _Lines:
    """A hook that prints a line when a run is stopped or ends, and one when it starts."""

    def __call__(self, event: Event) -> None:
        from revgnn.train.run.events import Started

        if isinstance(event, Started):
            model = event.config.model
            what = f"{model.conv}, {model.depth} layers of {model.channels} channels, {event.parameters:,} parameters"
            typer.echo(f"{event.folder.name}: {what}" + (f", from epoch {event.epoch}" if event.epoch else ""))


def _table_text(record: Record) -> str:
    ranked = record.ranked()
    others = [trial for trial in record.trials if trial not in ranked]
    rows = [(t.name, t.folder, t.epochs, score_text(t.valid), "" if t.error is None else t.error[:60]) for t in (*ranked, *others)]
    return table(("candidate", "run", "epochs", f"valid {record.metric}".strip(), ""), rows)


def _best_text(record: Record, folder: Path) -> str:
    """Return the best run and its test score: the only one that is shown, after the choice is made."""
    from revgnn.experiments.tune.halving import BEST
    from revgnn.train import RunFolder

    best = record.best()
    if best is None:
        return "no candidate has a validation score yet; give a larger --budget."
    scores = RunFolder(folder / BEST).best_scores()
    lines = {
        "best": f"{best.name}, valid {score_text(best.valid)} {record.metric}, epoch {scores.get('epoch')} of {best.epochs}",
        "test": f"{score_text(scores.get('test'))}, of the best run alone, chosen by its validation score",
        "time": seconds_text(record.seconds),
        "results": str(folder / BEST),
    }
    return "\n".join(f"{name:<12} {value}" for name, value in lines.items())
