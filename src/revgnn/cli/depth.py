"""`revgnn depth`: what more layers gain on a graph."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revgnn.cli import options
from revgnn.cli.progress import Display, progress
from revgnn.cli.report import report_line
from revgnn.cli.signals import resume_command, stop_on_signals
from revgnn.cli.text import bytes_text, facts, line_width, score_text, seconds_text, table, wrapped
from revgnn.cli.train import choose_run, make_loggers, reading
from revgnn.cli.waiting import choose_waiting

if TYPE_CHECKING:
    from revgnn.experiments.depth.plan import Plan
    from revgnn.train import RunConfig
    from revgnn.train.run.events import Event, Started

Depths = Annotated[str | None, typer.Option(metavar="A,B,...", help="Layers. Default: 3,7,14,28,56,112.")]
Families = Annotated[
    str, typer.Option(metavar="A,B,...", help="Networks: reversible, tied, residual, tied-residual, revgat, equilibrium.")
]
Rates = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="Learning rates to choose from. Default: 0.001,0.003,0.01, or --set optim.lr.")
]
Dropouts = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="Dropout rates to choose from. Default: 0.2,0.5, or --set model.dropout.")
]
Budget = Annotated[str, typer.Option(metavar="TIME", help="Time, over all calls, such as 30m, 2h or 1h30m.")]
StudySeeds = Annotated[str, typer.Option(help="Seeds: every split is trained with each.")]
StudyOut = Annotated[Path | None, typer.Option(help="Folder of the study. Default: runs/DATASET-depth.")]
StudyResume = Annotated[
    bool, typer.Option("--resume", help="Go on with the study in --out, also with more depths, families, splits or seeds.")
]


def depth(
    context: typer.Context,
    dataset: options.Dataset,
    depths: Depths = None,
    families: Families = "reversible",
    rates: Rates = None,
    dropouts: Dropouts = None,
    seeds: StudySeeds = "0,1,2",
    split: options.Split = None,
    budget: Budget = "2h",
    preset: options.PresetOrAuto = "auto",
    settings: options.Settings = None,
    root: options.Root = None,
    label: options.Label = None,
    epochs: options.Epochs = None,
    device: options.Device = None,
    out: StudyOut = None,
    resume: StudyResume = False,
    log: options.Log = None,
    quiet: options.Quiet = False,
    as_json: options.ResultAsJson = False,
) -> None:
    """Train depths side by side, each with rates of its own, and say up to where more layers gain.

    Example: revgnn depth graph.npz --depths 3,7,14,28 --seeds 0,1,2 --budget 2h
    """
    show = context.with_resource(progress(quiet=quiet, as_json=as_json))
    choose_waiting()
    loggers = [context.with_resource(logger) for logger in make_loggers(log)]
    from revgnn.experiments.compose import AUTO, compose
    from revgnn.experiments.tune.halving import seconds_of

    seconds = seconds_of(budget)
    changes: dict[str, Any] = {"epochs": epochs, "device": device, "data.labels": label or None}
    run_of = partial(compose, dataset, root=root, settings=settings or (), changes=changes)
    run = run_of(preset=preset)
    if run.preset == AUTO:
        run = choose_run(run, run_of, show)
    plan = _plan(run, depths, families, rates, dropouts, settings or [], split, seeds)
    show.phase(reading(run))
    from revgnn.experiments.depth.study import study

    assert run.data is not None  # `compose` refuses a run without data
    folder = Path("runs") / f"{Path(run.data.name).stem.partition(':')[0]}-depth" if out is None else out
    runs = Runs(show, folder)
    with stop_on_signals() as stop:
        values = study(run, plan, folder, budget=seconds, resume=resume, hooks=[runs, *loggers], should_stop=stop, say=runs.say)
    show.close()
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **values}, indent=2))
    else:
        typer.echo(_text(values, folder))
    if not values["finished"]:
        typer.echo(
            f"The study has not ended. Go on with: {resume_command(folder)}, and a larger --budget if it is spent.", err=True
        )
    if stop():
        raise typer.Exit(stop.exit_code)


def _plan(
    run: RunConfig,
    depths: str | None,
    families: str,
    rates: str | None,
    dropouts: str | None,
    settings: list[str],
    split: str | None,
    seeds: str,
) -> Plan:
    """Return the plan of the study. A rate that `settings` fix is not chosen, unless it is listed."""
    from revgnn.experiments.depth.plan import DEPTHS, DROPOUTS, RATES, Plan, read_numbers
    from revgnn.train.sweeps import choose_seeds, choose_splits

    fixed = {setting.partition("=")[0].strip() for setting in settings}
    of_rates = (run.optim.lr,) if "optim.lr" in fixed else RATES
    of_dropouts = (run.model.dropout,) if "model.dropout" in fixed else DROPOUTS
    return Plan(
        families=tuple(word.strip() for word in families.split(",")),
        depths=read_numbers(depths, int, "--depths", DEPTHS),
        rates=read_numbers(rates, float, "--rates", of_rates),
        dropouts=read_numbers(dropouts, float, "--dropouts", of_dropouts),
        splits=tuple(choose_splits(run, split)),
        seeds=tuple(choose_seeds(run, seeds)),
    )


class Runs:
    """A hook that shows the run in training, and what each run scored when it has ended."""

    def __init__(self, show: Display, folder: Path) -> None:
        self._show, self._folder = show, folder
        show.brief = True
        show.heading = self._heading

    def __call__(self, event: Event) -> None:
        from revgnn.train.run.events import Ended

        self._show(event)
        if isinstance(event, Ended):
            result = event.result
            own = f"valid {score_text(result.valid)}, test {score_text(result.test)}"
            if result.test is None:  # a candidate, which has no test nodes
                own = f"valid {score_text(result.valid)}"
            self._show.say(f"  {own}, epoch {result.best_epoch} of {result.epochs}", "    ")

    def say(self, text: str) -> None:
        """Print a line on the study."""
        self._show.say(text, "  ")

    def _heading(self, event: Started, width: int | None) -> str:
        from revgnn.train.run.optimization import peak_rate

        parts = event.folder.relative_to(self._folder).parts
        config = event.config
        rates = f"lr {peak_rate(config):.3g}, dropout {config.model.dropout:g}"
        what = f"choosing {parts[-1]}" if parts[0] == "choose" else parts[-1]
        since = f", from epoch {event.epoch}" if event.epoch else ""
        return wrapped(f"{parts[1]}, {what}: {rates}, {event.parameters:,} parameters{since}", width, "  ")


def _text(values: dict[str, Any], folder: Path) -> str:
    from revgnn.experiments.depth.verdict import between_families, family_verdicts
    from revgnn.experiments.run_files.studies import learning_rate_of

    width = line_width()
    rows = [_row(cell, learning_rate_of(values, cell)) for cell in values["cells"]]
    header = ("family", "layers", "lr", "dropout", "runs", "valid", "test", "peak", "time/epoch")
    lines = [table(header, rows, width)]
    for cell in values["cells"]:
        errors = [error for error in (cell["error"], *(failed["error"] for failed in cell["failed"])) if error is not None]
        lines += [wrapped(f"{cell['family']} of {cell['depth']} layers: {error}", width, "  ") for error in errors]
    verdicts = {family: each["verdict"] for family, each in values["families"].items()}
    about = (
        f"{values['metric']}, mean and half of its {values['level']:.0%} t interval over runs" if values["metric"] else "none yet"
    )
    between = between_families(values["cells"], values["compared"], larger_is_better=values["larger_is_better"])
    verdicts |= {f"{depth} layers": text for depth, text in family_verdicts(between).items()}
    more = {"scores": about, **verdicts, "time": seconds_text(values["seconds"]), "results": str(folder / "depth.json")}
    return "\n".join([*lines, facts(more, width), report_line(folder)])


def _row(cell: dict[str, Any], rate: float | None) -> tuple[Any, ...]:
    chosen = cell["chosen"] or {}
    return (
        cell["family"],
        cell["depth"],
        _rate(rate),
        _rate(chosen.get("model.dropout")),
        len(cell["runs"]),
        _mean(cell["valid"]),
        _mean(cell["test"]),
        None if cell["peak_bytes"] is None else bytes_text(cell["peak_bytes"]),
        None if cell["seconds_per_epoch"] is None else seconds_text(cell["seconds_per_epoch"]),
    )


def _rate(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"


def _mean(mean: dict[str, Any] | None) -> str | None:
    if mean is None:
        return None
    return score_text(mean["mean"]) + ("" if mean["high"] is None else f" ± {mean['high'] - mean['mean']:.4f}")
