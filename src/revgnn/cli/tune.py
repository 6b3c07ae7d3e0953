"""`revgnn tune`: compare networks on a graph within a budget of time, and keep the best."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revgnn.cli import options
from revgnn.cli.progress import Display, progress
from revgnn.cli.signals import resume_command, stop_on_signals
from revgnn.cli.text import facts, line_width, score_text, seconds_text, table, wrapped
from revgnn.cli.train import choose_run, make_loggers, reading
from revgnn.cli.waiting import choose_waiting

if TYPE_CHECKING:
    from revgnn.experiments.tune.record import Record, Trial
    from revgnn.train.run.events import Event, Started

Budget = Annotated[str, typer.Option(metavar="TIME", help="Time to train, over all calls, such as 30m, 2h or 1h30m.")]
TuneOut = Annotated[Path | None, typer.Option(help="Folder of the search. Default: runs/DATASET-tune.")]
TuneResume = Annotated[bool, typer.Option("--resume", help="Go on with the search in --out; a larger --budget gives it more time.")]


def tune(
    context: typer.Context,
    dataset: options.Dataset,
    budget: Budget = "30m",
    preset: options.PresetOrAuto = "auto",
    settings: options.Settings = None,
    root: options.Root = None,
    label: options.Label = None,
    split: options.Split = None,
    seed: options.Seed = None,
    epochs: options.Epochs = None,
    device: options.Device = None,
    out: TuneOut = None,
    resume: TuneResume = False,
    log: options.Log = None,
    quiet: options.Quiet = False,
    as_json: options.ResultAsJson = False,
) -> None:
    """Compare depths, convolutions, widths and rates by their validation scores, and keep the best run in OUT/best.

    Example: revgnn tune graph.npz --budget 30m
    """
    show = context.with_resource(progress(quiet=quiet, as_json=as_json))
    choose_waiting()
    loggers = [context.with_resource(logger) for logger in make_loggers(log)]
    from revgnn.experiments.compose import AUTO, compose
    from revgnn.experiments.tune.halving import seconds_of
    from revgnn.experiments.tune.space import candidates

    seconds = seconds_of(budget)
    changes = {"epochs": epochs, "seed": seed, "device": device, "data.split": split}
    changes["data.labels"] = label or None
    run_of = partial(compose, dataset, root=root, settings=settings or (), changes=changes)
    run = run_of(preset=preset)
    if run.preset == AUTO:
        run = choose_run(run, run_of, show)
    show.phase(reading(run))
    from revgnn.experiments.tune.halving import tune as search
    from revgnn.train.datasets import load_dataset

    assert run.data is not None  # `compose` refuses a run without data
    folder = Path("runs") / f"{Path(run.data.name).stem}-tune" if out is None else out
    names = candidates(run, has_edge_features=load_dataset(run.data).num_edge_features > 0)
    trials = Trials(show, [candidate.name for candidate in names], folder)
    with stop_on_signals() as stop:
        record = search(run, names, folder, budget=seconds, resume=resume, hooks=[trials, *loggers], should_stop=stop)
    trials.close()
    if as_json:
        typer.echo(json.dumps(_document(record, folder), indent=2))
    else:
        typer.echo(_table_text(record))
        typer.echo(_best_text(record, folder))
    if not record.finished:
        typer.echo(
            f"The search has not ended. Go on with: {resume_command(folder)}, and a larger --budget if it is spent.", err=True
        )
    if stop():
        raise typer.Exit(stop.exit_code)


class Trials:
    """A hook that shows the run in training, what each run scored when it is stopped or ends, and the best so far."""

    def __init__(self, show: Display, names: list[str], folder: Path) -> None:
        from revgnn.experiments.tune.record import Record

        self._show, self._names = show, names
        show.brief = True
        show.shows_test = False
        show.heading = self._heading
        earlier = Record.read(folder)
        best = None if earlier is None else earlier.best()
        self._best: tuple[str, float] | None = None if best is None or best.valid is None else (best.name, best.valid)
        self._run: Started | None = None
        self._valid: float | None = None
        self._epoch = 0

    def __call__(self, event: Event) -> None:
        from revgnn.data.tasks import is_better
        from revgnn.train.run.events import EpochEnded, Started

        if isinstance(event, Started):
            self._say_end()
            self._run, self._epoch = event, event.epoch
            self._valid = None if event.best is None else event.best.valid
        elif isinstance(event, EpochEnded):
            assert self._run is not None  # every run starts with `Started`
            self._epoch = event.epoch
            if event.is_best and event.valid is not None:
                self._valid = event.valid
                if is_better(self._run.metric, event.valid, None if self._best is None else self._best[1]):
                    self._best = (self._name(self._run), event.valid)
                    self._show.footer = self._best_text()
        self._show(event)

    def close(self) -> None:
        """End the display, after a line on the last run."""
        self._say_end()
        self._show.close()

    def _name(self, event: Started) -> str:
        return self._names[int(event.folder.name)]

    def _heading(self, event: Started, width: int | None) -> str:
        model = event.config.model
        what = f"{model.conv}, {model.depth} layers of {model.channels} channels, {event.parameters:,} parameters"
        since = f", from epoch {event.epoch}" if event.epoch else ""
        number = f"{int(event.folder.name) + 1} of {len(self._names)}"
        return wrapped(f"{number}, {self._name(event)}: {what}{since}", width, "  ")

    def _say_end(self) -> None:
        if self._run is not None:
            own = f"  {self._name(self._run)}: valid {score_text(self._valid)} after {self._epoch} epochs"
            self._show.say(f"{own}; {self._best_text()}", "    ")
        self._run = None

    def _best_text(self) -> str:
        return "best so far -" if self._best is None else f"best so far {score_text(self._best[1])}, {self._best[0]}"


def _document(record: Record, folder: Path) -> dict[str, Any]:
    """Return the result for --json: the best run, and all candidates, the best first."""
    from revgnn.experiments.tune.halving import BEST
    from revgnn.train import RunFolder

    trials = [asdict(trial) for trial in _sorted(record)]
    best = record.best()
    result = None
    if best is not None:
        scores = RunFolder(folder / BEST).best_scores()
        result = {"name": best.name, "folder": str(folder / BEST), "epochs": best.epochs, "best_epoch": scores.get("epoch")}
        result |= {"valid": best.valid, "test": scores.get("test")}
    about = {"folder": str(folder), "metric": record.metric, "seconds": record.seconds, "finished": record.finished}
    return {**about, "best": result, "candidates": trials}


def _sorted(record: Record) -> list[Trial]:
    ranked = record.ranked()
    return [*ranked, *(trial for trial in record.trials if trial not in ranked)]


def _table_text(record: Record) -> str:
    trials = _sorted(record)
    width = line_width()
    rows = [(t.name, t.folder, t.epochs, score_text(t.valid)) for t in trials]
    lines = [table(("candidate", "run", "epochs", f"valid {record.metric}".strip()), rows, width)]
    lines += [wrapped(f"{t.name} cannot be trained: {t.error}", width, "  ") for t in trials if t.error is not None]
    return "\n".join(lines)


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
    return facts(lines, line_width())
