"""`revgnn paper`: the published tables, with our figures beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revgnn.cli.progress import progress
from revgnn.cli.signals import resume_command, stop_on_signals
from revgnn.cli.text import bytes_text, score_text, table

if TYPE_CHECKING:
    from revgnn.experiments.paper import Row, Table
    from revgnn.experiments.paper.train import Plan

NOT_ALL = 1
"""Exit code where some networks of a table could not be trained."""


def paper(
    name: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Table to print.", show_default=False)] = None,
    row: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this row: its name, or that of its preset. May be given again.")
    ] = None,
    measure: Annotated[
        str | None, typer.Option(metavar="memory", help="Add our peak memory of one training step, at the published size.")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Train all networks, or those of --row, and write the table.")] = False,
    epochs: Annotated[int | None, typer.Option(help="With --train: in place of the presets' own.")] = None,
    seeds: Annotated[str | None, typer.Option(help="With --train: several, such as 0,1,2: one run each, summed up.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --train: folder of the runs, of table.json and table.md. Default: runs/paper-TABLE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="With --train: skip what is finished in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --train: train anew what is in --out.")] = False,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="With --train: print the table only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the tables of the paper, print one with our figures beside the published ones, measure it, or train it.

    Examples: revgnn paper table2 --row RevGNN-64 --measure memory; revgnn paper humanppi --train --root DIR --out DIR
    """
    from revgnn.experiments.paper import get_table, list_tables, row_record, table_record

    _check_options(
        name=name,
        row=row,
        measure=measure,
        train=train,
        for_training=(epochs, seeds, out, resume, overwrite, quiet),
        place=(root, device),
    )
    if name is None:
        tables = list_tables()
        typer.echo(json.dumps(tables, indent=2) if as_json else table(tuple(tables[0]), [tuple(t.values()) for t in tables]))
        return
    published = get_table(name)
    if train:
        from revgnn.experiments.paper.train import plan_table

        plan = plan_table(published, row or (), out=out, epochs=epochs, seeds=seeds, root=root, device=device)
        _train(plan, resume=resume, overwrite=overwrite, quiet=quiet, as_json=as_json)
        return
    rows = tuple(published.row(one) for one in row) if row else published.rows
    records = _measured(rows, root, device) if measure else [row_record(r) for r in rows]
    typer.echo(json.dumps(table_record(published, records), indent=2) if as_json else _table_text(published, records))


def _check_options(
    *,
    name: str | None,
    row: list[str] | None,
    measure: str | None,
    train: bool,
    for_training: tuple[Any, ...],
    place: tuple[Path | None, str | None],
) -> None:
    if name is None and (row or measure is not None or train):
        raise ValueError("name a table before its options, such as revgnn paper table2 (revgnn paper lists them).")
    if measure not in (None, "memory"):
        raise ValueError(f"what can be measured is memory, got --measure {measure}.")
    if train and measure:
        raise ValueError("--train and --measure are two things to do; give one of them. A run measures its memory as it trains.")
    if not train and any(for_training):
        raise ValueError("--epochs, --seeds, --out, --resume, --overwrite and --quiet belong to --train.")
    if not (train or measure) and any(place):
        raise ValueError("--root and --device belong to --measure and --train; a table is printed without data.")


# --- a table ------------------------------------------------------------------------------------------------------------


def _measured(rows: tuple[Row, ...], root: Path | None, device: str | None) -> list[dict[str, Any]]:
    from revgnn.experiments.paper import measure_rows

    records = []
    for record in measure_rows(rows, root, device):
        records.append(record)
        typer.echo(f"measured {record['name']}: {bytes_text(record['memory']['peak_bytes'])}", err=True)
    return records


_MODEL = ("model", "layers", "channels", "groups", "views", "parts", "parameters")
_OURS = ("our GB", "times less", "gradient", "GB if stored")


def _table_text(published: Table, records: list[dict[str, Any]]) -> str:
    """Columns that no row has anything in are left out; rows without networks are notes alone."""
    lines = [f"{published.title} ({published.source})"]
    if records:
        paper = ("paper's", f"paper's {published.metric}", "paper's days", "paper's GB")
        header = (*_MODEL, *paper, *_OURS, "preset")
        cells = [_cells(record) for record in records]
        used = [any(row[i] is not None for row in cells) for i in range(len(header))]
        keep = [i for i, is_used in enumerate(used) if is_used]
        lines.append(table([header[i] for i in keep], [[row[i] for i in keep] for row in cells]))
    lines += published.notes
    if records and "memory" in records[0]:
        lines.append(_what_was_measured(records[0]["memory"]))
    return "\n".join(lines)


def _cells(record: dict[str, Any]) -> tuple[str | int | None, ...]:
    theirs, memory = record["published"], record.get("memory")
    gigabytes = _fixed(theirs["memory_gb"])
    if theirs["out_of_memory_gb"] is not None:
        gigabytes = f"> {theirs['out_of_memory_gb']:.0f}"
    return (
        *(record[key] for key in ("name", "layers", "channels", "groups", "views", "parts", "parameters")),
        theirs["parameters"],
        _score(theirs),
        _fixed(theirs["train_days"], 1),
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


def _what_was_measured(memory: dict[str, Any]) -> str:
    data = "a generated batch" if memory["data"] == "generated" else f"one part of {memory['data']}"
    return (
        f"Ours: one training step on {data} of {memory['num_nodes']:,} nodes and {memory['num_edges']:,} directed edges, on "
        f"{memory['device']}; all tensors at the peak, with batch ({bytes_text(memory['batch_bytes'])}), weights, gradients and "
        "the optimiser's state. GB are 10^9 bytes."
    )


# --- training -----------------------------------------------------------------------------------------------------------


def _train(plan: Plan, *, resume: bool, overwrite: bool, quiet: bool, as_json: bool) -> None:
    from revgnn.experiments.paper.markdown import table_markdown
    from revgnn.experiments.paper.train import Stopped, train_table
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
        raise typer.Exit(NOT_ALL)
