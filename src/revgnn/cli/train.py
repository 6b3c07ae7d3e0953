"""`revgnn train`: train a run, or several."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import typer

from revgnn.cli import options
from revgnn.cli.fit import advice_if_out_of_memory, fitted
from revgnn.cli.phases import phases
from revgnn.cli.processes import agree, check_options, chosen_spread, is_restart, processes
from revgnn.cli.progress import Display, progress
from revgnn.cli.report import report_line
from revgnn.cli.signals import StopRequest, resume_command, stop_on_signals
from revgnn.cli.text import bytes_text, facts, line_width, score_text, seconds_text, table
from revgnn.cli.waiting import choose_waiting

if TYPE_CHECKING:
    from revgnn.train import Result, RunConfig
    from revgnn.train.loggers import Logger
    from revgnn.train.run.events import Hook
    from revgnn.train.run.spread import Spread
    from revgnn.train.run.team import Team


def train(
    context: typer.Context,
    dataset: options.Dataset = None,
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    settings: options.Settings = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    archive: options.Archive = None,
    split: options.Split = None,
    seed: options.Seed = None,
    seeds: options.Seeds = None,
    teacher: options.Teacher = None,
    init: options.Init = None,
    nodes: options.Nodes = None,
    edges: options.Edges = None,
    graph_file: options.GraphFile = None,
    label: options.Label = None,
    task: options.TaskOf = None,
    metric: options.Metric = None,
    kind: options.KindOf = None,
    split_ratios: options.SplitRatios = None,
    stratify: options.Stratify = None,
    split_time: options.SplitTime = None,
    directed: options.Directed = None,
    on_bad_rows: options.OnBadRows = None,
    pyg: options.PygClass = None,
    label_file: options.LabelFile = None,
    node_features: options.NewNodeFeatures = None,
    epochs: options.Epochs = None,
    device: options.Device = None,
    amp: options.Amp = None,
    out: options.Out = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    allow_changed_data: options.AllowChangedData = False,
    compare_memory: options.CompareMemory = None,
    log: options.Log = None,
    fit: options.Fit = False,
    memory: options.Memory = None,
    parallel: options.Parallel = "parts",
    rank_timeout: options.RankTimeout = 600.0,
    quiet: options.Quiet = False,
    as_json: options.ResultAsJson = False,
) -> None:
    """Train a network on a data set, or on your own tables.

    Examples: revgnn train shop/ --label plan --out runs/a; revgnn train tolokers --root DIR --preset revgnn-28 --out runs/b
    """
    given = locals()
    from revgnn.experiments.compose import default_folder

    team = context.with_resource(processes(rank_timeout))
    leads = team is None or team.leads
    if is_restart():
        given["resume"], given["overwrite"] = resume, overwrite = True, False
    show = context.with_resource(progress(quiet=quiet or not leads, as_json=as_json))
    choose_waiting()
    loggers = [context.with_resource(logger) for logger in make_loggers(log if leads else None)]
    if (data is not None or allow_changed_data) and not resume:
        raise ValueError("--data and --allow-changed-data belong to --resume; a new run names its data set: revgnn train DATASET.")
    spread = chosen_spread(team, given) if team is not None or parallel != "parts" else None
    if team is not None:
        check_options(team, given, sweep=seeds is not None or "," in (split or "") or split == "all")
        run = agree(team, lambda: composed(given, show), given, show)
    else:
        run = composed(given, show)
    if fit:
        run = fitted(run, memory, show)
    # The configuration is valid. Only what follows imports torch.
    from revgnn.train.sweeps import choose_seeds, choose_splits

    hooks: list[Hook] = [show, *loggers]
    splits, seed_list = choose_splits(run, split), choose_seeds(run, seeds)
    how = _How(resume=resume, overwrite=overwrite, allow_changed_data=allow_changed_data)
    where = default_folder(run, resume=resume, overwrite=overwrite) if out is None else nullcontext(out)
    show.phase(reading(run))
    started = time.monotonic()
    if split == "all" or len(splits) > 1 or seeds is not None:
        with where as folder:
            summary = _train_sweep(run, folder, splits, seed_list, how, hooks)
        show.close()
        typer.echo(_json(run, folder, summary, started) if as_json else _summary_text(summary, folder) + "\n" + report_line(folder))
        return
    run = run.replace({"data.split": splits[0]})
    with where as folder:
        result = _train_run(run, folder, how, hooks, team, spread)
    show.close()
    if not leads:
        return
    if not as_json:
        typer.echo(_result_text(result, folder))
    more = {}
    if compare_memory or (compare_memory is None and run.preset == "quickstart" and not as_json):
        more["one_step"] = _footprint(run, quiet=quiet, as_json=as_json)
    typer.echo(_json(run, folder, result.as_dict(), started, more) if as_json else report_line(folder))


def reading(run: RunConfig) -> str:
    """Return what a command does that loads the data of a run."""
    return f"reading {run.data.name if run.data else 'the data'}, building the network"


def composed(given: Mapping[str, Any], show: Display) -> RunConfig:
    """Return the run that the options of `train` describe, and print what preset auto chose.

    Args:
        given: the options by the names of its parameters.
        show: where it is printed.
    """
    from revgnn.cli.tables import table_settings
    from revgnn.experiments.compose import AUTO, compose

    config = given["config"]
    if given["resume"] and given["out"] is not None and given["dataset"] is given["preset"] is config is None:
        config = _saved_config(given["out"])
    directed, init, archive = given["directed"], given["init"], given["archive"]
    of_tables = ("edges", "graph_file", "label", "kind", "split_ratios", "stratify", "split_time", "on_bad_rows", "label_file")
    run_of = partial(
        compose,
        _data_set(given["dataset"], given["nodes"], given["pyg"]),
        config_file=config,
        root=given["root"],
        download=given["download"],
        teacher=given["teacher"],
        settings=given["settings"] or (),
        changes={
            "epochs": given["epochs"],
            "seed": given["seed"],
            "device": given["device"],
            "amp": given["amp"],
            "data.archive": None if archive is None else str(archive.absolute()),
            "data.task": given["task"],
            "data.metric": given["metric"],
            "init": None if init is None else str(init),
            "data.undirected": None if directed is None else not directed,
            **table_settings(*(given[name] for name in (*of_tables, "node_features"))),
        },
    )
    run = run_of(preset=given["preset"])
    if run.preset == AUTO and config is None:
        run = choose_run(run, run_of, show)
    return run.with_data_at(given["data"], given["root"])


def choose_run(run: RunConfig, run_of: Callable[..., RunConfig], show: Display) -> RunConfig:
    """Return the run that preset auto chooses for the data of `run`, and print the choice.

    Args:
        run_of: composes what the user asked for, from `preset`.
    """
    show.phase(f"reading {run.data.name if run.data else 'the data'}, looking at the graph")
    from revgnn.experiments.auto.for_run import choice_for

    choice = choice_for(run)
    show.say("\n".join(choice.lines()), " " * 15)
    return run_of(preset=choice.for_data(run.data))


def make_loggers(names: list[str] | None) -> list[Logger]:
    """Return the loggers of these names."""
    if not names:
        return []
    from revgnn.train.loggers import make_logger

    return [make_logger(name) for name in dict.fromkeys(names)]


def _data_set(dataset: str | None, nodes: Path | None, pyg: str | None) -> str | None:
    if pyg is not None:
        if dataset is not None or nodes is not None:
            raise ValueError(f"{dataset or nodes} and --pyg {pyg} both name the data; give one of them.")
        return f"pyg:{pyg}"
    if nodes is None:
        return dataset
    if dataset is not None:
        raise ValueError(
            f"{dataset} and --nodes {nodes} both name the data; give one of them. Edges that belong to the nodes: --edges FILE."
        )
    if not nodes.is_file():
        raise ValueError(f"there is no file {nodes}.")
    return str(nodes)


def _saved_config(folder: Path) -> Path:
    from revgnn.train import RunFolder

    return RunFolder(folder).existing_config_file()


class _How(TypedDict):
    """What is done with a run that exists already."""

    resume: bool
    overwrite: bool
    allow_changed_data: bool


def _train_run(run: RunConfig, folder: Path, how: _How, hooks: list[Hook], team: Team | None, spread: Spread | None) -> Result:
    from revgnn.train import train as train_run
    from revgnn.train.run.team import ALONE

    team = team or ALONE
    with advice_if_out_of_memory(run), _stoppable(folder, silent=not team.leads) as stop:
        return train_run(run, folder, **how, hooks=hooks, should_stop=stop, team=team, spread=spread)


def _train_sweep(
    run: RunConfig, folder: Path, splits: list[int | str], seeds: list[int], how: _How, hooks: list[Hook]
) -> dict[str, Any]:
    from revgnn.train import sweep

    with advice_if_out_of_memory(run), _stoppable(folder) as stop:
        return sweep(run, folder, splits=splits, seeds=seeds, **how, hooks=hooks, should_stop=stop)


def _json(run: RunConfig, folder: Path, result: dict[str, Any], started: float, more: dict[str, Any] | None = None) -> str:
    """Return the document for --json.

    Args:
        started: the monotonic time at which the training began.
    """
    seconds = round(time.monotonic() - started, 3)
    return json.dumps({"folder": str(folder), "preset": run.preset, **result, "seconds": seconds, **(more or {})}, indent=2)


@contextmanager
def _stoppable(folder: Path, *, silent: bool = False) -> Iterator[StopRequest]:
    """Yield the request to stop. A run that stops on request prints how to continue it, unless `silent`."""
    from revgnn.train import Interrupted

    try:
        with stop_on_signals(silent=silent) as stop:
            yield stop
    except Interrupted as interrupted:
        if not silent:
            typer.echo(f"{interrupted} Go on with: {resume_command(folder)}", err=True)
        raise typer.Exit(stop.exit_code) from None


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
        lines["solver"] = f"{result.solve_failures} solves did not converge; see metrics.jsonl for each epoch"
    if result.skipped_steps:
        lines["fp16"] = f"{result.skipped_steps} steps skipped since gradients overflowed"
    return facts(lines, line_width())


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
    text = table(("run", "valid", "test", "epoch", "time/epoch"), rows, line_width())
    for name in ("valid", "test"):
        mean, std = summary[name]["mean"], summary[name]["std"]
        deviation = "" if std is None else f" ± {std:.4f}"
        text += f"\n{name:<12} {score_text(mean)}{deviation} {summary['metric']}, {summary['runs']} runs"
    return f"{text}\n{'results':<12} {folder / 'summary.json'}"


def _footprint(run: RunConfig, *, quiet: bool, as_json: bool) -> dict[str, Any]:
    """Measure one step with every layer stored, print the comparison unless it is wanted as JSON, and return it."""
    from revgnn.train import compare_footprint

    with phases(silent=quiet) as say:
        say("measuring one step with every layer stored")
        footprint = compare_footprint(run)
    if not as_json:
        if footprint.stored_is_measured:
            source = "measured on one step"
        else:
            source = f"extrapolated from {footprint.shallower[0]} and {footprint.shallower[1]} layers"
        ratio = footprint.stored_bytes / max(footprint.peak_bytes, 1)
        text = (
            f"{bytes_text(footprint.peak_bytes)} peak by {footprint.gradient}; with every layer stored "
            f"{bytes_text(footprint.stored_bytes)} ({source}), {ratio:.1f} times as much"
        )
        typer.echo(facts({"one step": text}, line_width()))
    return asdict(footprint)
