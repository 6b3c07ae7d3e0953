"""`revgnn paper`: the published tables, with our figures beside the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revgnn.cli.options import Device, Root
from revgnn.cli.progress import progress
from revgnn.cli.signals import resume_command, stop_on_signals
from revgnn.cli.text import bytes_text, score_text, table
from revgnn.cli.waiting import choose_waiting

if TYPE_CHECKING:
    from revgnn.experiments import Row, Table
    from revgnn.experiments.training.plan import Plan

SOME_FAILED = 1
"""Exit code if some networks of a table could not be trained."""


def paper(
    name: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Table to print.", show_default=False)] = None,
    row: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this row: its name, or that of its preset. Repeatable.")
    ] = None,
    measure: Annotated[
        str | None, typer.Option(metavar="memory", help="Add our peak memory of one training step at the published size.")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Train all networks, or those of --row, and write the table.")] = False,
    epochs: Annotated[int | None, typer.Option(help="With --train: instead of those of the presets.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="With --train: such as 0,1,2: one run per seed, with mean and deviation.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --train: folder of the runs, table.json and table.md. Default: runs/paper-TABLE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="With --train: skip what is finished in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --train: train again what is in --out.")] = False,
    root: Root = None,
    device: Device = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="With --train: print only the table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the tables of the paper; or print, measure or train one.

    Examples: revgnn paper table2 --row RevGNN-64 --measure memory; revgnn paper humanppi --train --root DIR --out DIR
    """
    from revgnn.experiments import get_table
    from revgnn.experiments.report.records import list_tables, row_record, table_record

    _check_options(
        name=name,
        row=row,
        measure=measure,
        train=train,
        train_options=(epochs, seeds, out, resume, overwrite, quiet),
        run_options=(root, device),
    )
    if name is None:
        tables = list_tables()
        typer.echo(json.dumps(tables, indent=2) if as_json else table(tuple(tables[0]), [tuple(t.values()) for t in tables]))
        return
    published = get_table(name)
    if train:
        choose_waiting()
        from revgnn.experiments.training.plan import plan_table

        plan = plan_table(published, row or (), out=out, epochs=epochs, seeds=seeds, root=root, device=device)
        _train(plan, resume=resume, overwrite=overwrite, quiet=quiet, as_json=as_json)
        return
    rows = tuple(published.row(row_name) for row_name in row) if row else published.rows
    records = _measured(rows, root, device) if measure else [row_record(r) for r in rows]
    typer.echo(json.dumps(table_record(published, records), indent=2) if as_json else _table_text(published, records))


def _check_options(
    *,
    name: str | None,
    row: list[str] | None,
    measure: str | None,
    train: bool,
    train_options: tuple[Any, ...],
    run_options: tuple[Any, ...],
) -> None:
    """Raise `ValueError` for options that do not belong together.

    Args:
        train_options: values of the options that only --train has.
        run_options: values of those that --train and --measure have.
    """
    if name is None and (row or measure is not None or train):
        raise ValueError("name a table before its options, such as revgnn paper table2 (revgnn paper lists them).")
    if measure not in (None, "memory"):
        raise ValueError(f"--measure can be memory only, got {measure}.")
    if train and measure:
        raise ValueError("--train and --measure exclude each other; give one of them. A run measures its memory as it trains.")
    if not train and any(train_options):
        raise ValueError("--epochs, --seeds, --out, --resume, --overwrite and --quiet belong to --train.")
    if not (train or measure) and any(run_options):
        raise ValueError("--root and --device belong to --measure and --train; a table is printed without data.")


# --- a table ------------------------------------------------------------------------------------------------------------


def _measured(rows: tuple[Row, ...], root: Path | None, device: str | None) -> list[dict[str, Any]]:
    from revgnn.experiments.measure.rows import measure_rows

    records = []
    for record in measure_rows(rows, root, device):
        records.append(record)
        typer.echo(f"measured {record['name']}: {bytes_text(record['memory']['peak_bytes'])}", err=True)
    return records


def _table_text(published: Table, records: list[dict[str, Any]]) -> str:
    """Return title, rows and notes. Columns without any figure are left out; a table without rows has only notes."""
    lines = [f"{published.title} ({published.source})"]
    if records:
        header = (
            *("model", "layers", "channels", "groups", "views", "parts", "parameters"),
            *("paper's", f"paper's {published.metric}", "paper's days", "paper's GB"),
            *("our GB", "times less", "gradient", "GB if stored", "preset"),
        )
        cells = [_cells(record) for record in records]
        used = [i for i in range(len(header)) if any(row[i] is not None for row in cells)]
        lines.append(table([header[i] for i in used], [[row[i] for i in used] for row in cells]))
    lines += published.notes
    if records and "memory" in records[0]:
        lines.append(_measurement_text(records[0]["memory"]))
    return "\n".join(lines)


def _cells(record: dict[str, Any]) -> tuple[str | int | None, ...]:
    published, memory = record["published"], record.get("memory")
    gigabytes = _fixed(published["memory_gb"])
    if published["out_of_memory_gb"] is not None:
        gigabytes = f"> {published['out_of_memory_gb']:.0f}"
    return (
        *(record[key] for key in ("name", "layers", "channels", "groups", "views", "parts", "parameters")),
        published["parameters"],
        _score(published),
        _fixed(published["train_days"], 1),
        gigabytes,
        _fixed(record.get("memory_gb"), 3),
        _fixed(record.get("times_less"), 1),
        memory and memory["gradient"],
        _fixed(record.get("stored_gb")),
        record["preset"],
    )


def _fixed(value: float | None, digits: int = 2) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _score(published: dict[str, Any]) -> str | None:
    if published["score"] is None:
        return None
    return score_text(published["score"]) + (f" ± {published['score_std']:.4f}" if published["score_std"] is not None else "")


def _measurement_text(memory: dict[str, Any]) -> str:
    data = "a generated batch" if memory["data"] == "generated" else f"one part of {memory['data']}"
    return (
        f"Ours: one training step on {data} of {memory['num_nodes']:,} nodes and {memory['num_edges']:,} directed edges, on "
        f"{memory['device']}; all tensors at the peak, with batch ({bytes_text(memory['batch_bytes'])}), weights, gradients and "
        "the optimiser's state. GB are 10^9 bytes."
    )


# --- training -----------------------------------------------------------------------------------------------------------


def _train(plan: Plan, *, resume: bool, overwrite: bool, quiet: bool, as_json: bool) -> None:
    from revgnn.experiments.report.markdown import table_markdown
    from revgnn.experiments.training.train import Stopped, train_table
    from revgnn.train import Interrupted

    silent = quiet or as_json

    def tell(text: str) -> None:
        if not silent:
            typer.echo(text)

    try:
        with stop_on_signals() as stop, progress(quiet=silent) as hooks:
            record = train_table(plan, resume=resume, overwrite=overwrite, hooks=hooks, should_stop=stop, tell=tell)
    except (Interrupted, Stopped) as interrupted:
        typer.echo(f"{interrupted} Go on with: {resume_command()}", err=True)
        raise typer.Exit(stop.exit_code) from None
    typer.echo(json.dumps(record, indent=2) if as_json else table_markdown(record))
    tell(f"results {plan.out / 'table.md'}, {plan.out / 'table.json'}")
    failed = {row["preset"]: row["failed"] for row in record["rows"] if row["failed"]}
    for preset, reason in failed.items():
        typer.echo(f"{preset} could not be trained: {reason}", err=True)
    if failed:
        raise typer.Exit(SOME_FAILED)
