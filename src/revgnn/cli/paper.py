"""`revgnn paper`: the published tables, with our figures beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revgnn.cli.progress import progress
from revgnn.cli.signals import stop_on_signals
from revgnn.cli.text import bytes_text, score_text, table

if TYPE_CHECKING:
    from revgnn.paper import Row, Table


def paper(
    name: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Table to print.", show_default=False)] = None,
    row: Annotated[str | None, typer.Option(help="Only this row: its name, or that of its preset.")] = None,
    measure: Annotated[
        str | None, typer.Option(metavar="memory", help="Add our peak memory of one training step, at the published size.")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Train the row given by --row as the paper does.")] = False,
    epochs: Annotated[int | None, typer.Option(help="With --train: fewer epochs than the paper's 2000.")] = None,
    out: Annotated[Path | None, typer.Option(help="With --train: folder of the run. Default: runs/DATASET-PRESET.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="With --train: go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --train: replace the run in --out.")] = False,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="With --train: print the result only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the tables of the paper, print one with our figures beside the published ones, measure it, or train a row.

    Example: revgnn paper table2 --row RevGNN-64 --measure memory
    """
    from revgnn.paper import get_table, list_tables, row_record, table_record

    _check_options(
        name=name, row=row, measure=measure, train=train, for_training=(epochs, out, resume, overwrite, quiet), place=(root, device)
    )
    if name is None:
        tables = list_tables()
        typer.echo(json.dumps(tables, indent=2) if as_json else table(tuple(tables[0]), [tuple(t.values()) for t in tables]))
        return
    published = get_table(name)
    rows = published.rows if row is None else (published.row(row),)
    if train:
        record = _train(rows[0], epochs, out, resume, overwrite, root, device, quiet or as_json)
        typer.echo(json.dumps(table_record(published, [record]), indent=2) if as_json else _trained_text(record))
        return
    records = _measured(rows, root, device) if measure else [row_record(r) for r in rows]
    typer.echo(json.dumps(table_record(published, records), indent=2) if as_json else _table_text(published, records))


def _check_options(
    *,
    name: str | None,
    row: str | None,
    measure: str | None,
    train: bool,
    for_training: tuple[Any, ...],
    place: tuple[Path | None, str | None],
) -> None:
    if name is None and (row is not None or measure is not None or train):
        raise ValueError("name a table before its options, such as revgnn paper table2 (revgnn paper lists them).")
    if measure not in (None, "memory"):
        raise ValueError(f"what can be measured is memory, got --measure {measure}.")
    if train and measure:
        raise ValueError("--train and --measure are two things to do; give one of them. A run measures its memory as it trains.")
    if train and row is None:
        raise ValueError("training takes one row at a time; choose it with --row (revgnn paper TABLE lists them).")
    if not train and any(for_training):
        raise ValueError("--epochs, --out, --resume, --overwrite and --quiet belong to --train.")
    if not (train or measure) and any(place):
        raise ValueError("--root and --device belong to --measure and --train; a table is printed without data.")


# --- a table ------------------------------------------------------------------------------------------------------------


def _measured(rows: tuple[Row, ...], root: Path | None, device: str | None) -> list[dict[str, Any]]:
    from revgnn.paper import measure_rows

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


def _train(
    row: Row,
    epochs: int | None,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    root: Path | None,
    device: str | None,
    quiet: bool,
) -> dict[str, Any]:
    """The row's record with `result`, what its run is summed up to, and `multi_view`, its score as the row has it made."""
    from revgnn.paper import row_record
    from revgnn.presets import get_preset
    from revgnn.presets.compose import compose, default_folder

    teacher = None if row.teacher is None else default_folder(get_preset(row.teacher))
    run = compose(preset=row.preset, root=root, teacher=teacher, epochs=epochs, device=device)
    from revgnn.train import Interrupted, evaluate_run
    from revgnn.train import train as train_run

    folder = out or default_folder(run)
    try:
        with stop_on_signals() as stop, progress(quiet=quiet) as hooks:
            result = train_run(run, folder, resume=resume, overwrite=overwrite, hooks=hooks, should_stop=stop)
    except Interrupted as interrupted:
        typer.echo(f"{interrupted} Go on with: revgnn train --resume --out {folder}", err=True)
        raise typer.Exit(stop.exit_code) from None
    record = {**row_record(row), "folder": str(folder), "result": result.as_dict(), "multi_view": None}
    if row.views is not None:
        record["multi_view"] = evaluate_run(folder, views=row.views, parts=row.parts, root=root, device=device)
    return record


def _trained_text(record: dict[str, Any]) -> str:
    result, views = record["result"], record["multi_view"]
    lines = {
        "test": f"{score_text(result['test'])} {result['metric']} by the run's own evaluation, epoch {result['best_epoch']} "
        f"of {result['epochs']}",
        "peak memory": f"{bytes_text(result['peak_bytes'])} in the first training epoch, above weights and data",
        "parameters": f"{result['parameters']:,} (published {record['published']['parameters'] or '-'})",
        "results": record["folder"],
    }
    if views is not None:
        lines["multi-view"] = f"test {score_text(views['test'])} by {views['views']} views of {views['parts']} parts"
    if record["published"]["score"] is not None:
        lines["published"] = f"test {_score(record['published'])}, 2000 epochs"
    return "\n".join(f"{name:<12} {value}" for name, value in lines.items())
