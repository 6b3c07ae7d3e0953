"""`revgnn paper`: the published tables, with our figures beside the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revgnn.cli.options import Device, Root
from revgnn.cli.phases import phases
from revgnn.cli.progress import Display, progress
from revgnn.cli.signals import resume_command, stop_on_signals
from revgnn.cli.text import bytes_text, line_width, score_text, table, wrapped
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
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Without TABLE: all published tables, with sources and presets' notes, as Markdown.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; without TABLE: all tables with all rows.")] = False,
) -> None:
    """List the tables of the paper; or print, measure or train one.

    Figures marked * are second-hand: known only from notes and code of others that list them.

    Examples: revgnn paper table2 --row RevGNN-64 --measure memory; revgnn paper humanppi --train --root DIR --out DIR
    """
    from revgnn.experiments import get_table
    from revgnn.experiments.report.records import all_table_records, list_tables, row_record, table_record

    _check_options(
        name=name,
        row=row,
        measure=measure,
        train=train,
        train_options=(epochs, seeds, out, resume, overwrite, quiet),
        run_options=(root, device),
    )
    if as_markdown:
        from revgnn.experiments.report.page import paper_markdown

        if name is not None or as_json:
            raise ValueError("--markdown prints the page of all published tables; leave TABLE and --json out.")
        typer.echo(paper_markdown(), nl=False)
        return
    if name is None:
        tables = list_tables()
        overview = table(tuple(tables[0]), [tuple(t.values()) for t in tables], line_width())
        typer.echo(json.dumps(all_table_records(), indent=2) if as_json else overview)
        return
    published = get_table(name)
    if train:
        choose_waiting()
        with progress(quiet=quiet, as_json=as_json) as show:
            from revgnn.experiments.training.plan import plan_table

            plan = plan_table(published, row or (), out=out, epochs=epochs, seeds=seeds, root=root, device=device)
            _train(plan, show, resume=resume, overwrite=overwrite, as_json=as_json)
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
    records = []
    with phases() as say:
        say("loading PyTorch")
        from revgnn.experiments.measure.rows import measure_rows

        say(f"measuring {rows[0].name}")
        for number, record in enumerate(measure_rows(rows, root, device), start=1):
            records.append(record)
            typer.echo(f"measured {record['name']}: {bytes_text(record['memory']['peak_bytes'])}", err=True)
            say(f"measuring {rows[number].name}" if number < len(rows) else "")
    return records


def _table_text(published: Table, records: list[dict[str, Any]]) -> str:
    """Return title, rows and notes. Columns without any figure are left out.

    Networks of others and figures about two rows are printed with the whole table only.
    """
    from revgnn.experiments.report.records import SECOND_HAND, comparison_text, has_second_hand, table_record

    is_whole = len(records) == len(published.rows)
    record = table_record(published, records)
    others, comparisons = (record["others"], record["comparisons"]) if is_whole else ([], [])
    header = (
        *("model", "layers", "channels", "groups", "views", "parts", "parameters"),
        *("paper's", f"paper's {published.metric}", "paper's validation", "paper's days", "paper's GB"),
        *("our GB", "times less", "gradient", "GB if stored", "preset"),
    )
    cells = [_cells(row) for row in (*records, *others)]
    used = [i for i in range(len(header)) if any(row[i] is not None for row in cells)]
    width = line_width()
    figures = table([header[i] for i in used], [[row[i] for i in used] for row in cells], width)
    lines = [comparison_text(comparison) for comparison in comparisons]
    lines += published.notes
    if has_second_hand([*records, *others]):
        lines.append(SECOND_HAND)
    if "memory" in records[0]:
        lines.append(_measurement_text(records[0]["memory"]))
    title = wrapped(f"{published.title} ({published.source})", width, "  ")
    return "\n".join([title, figures, *(wrapped(line, width, "  ") for line in lines)])


def _cells(record: dict[str, Any]) -> tuple[str | int | None, ...]:
    """Return the cells of a row, or of a network of others, which has nothing of ours."""
    from revgnn.experiments.report.records import mark, memory_text

    published, memory = record["published"], record.get("memory")

    def marked(name: str, text: str | None) -> str | None:
        return None if text is None else text + mark(record, name)

    ours = ("layers", "channels", "groups", "views", "parts", "parameters")
    return (
        *(record.get(key) for key in ("name", *ours)),
        marked("parameters", published["parameters"]),
        marked("score", _score(published, "score")),
        marked("valid_score", _score(published, "valid_score")),
        marked("train_days", _fixed(published["train_days"], 1)),
        memory_text(record),
        _fixed(record.get("memory_gb"), 3),
        _fixed(record.get("times_less"), 1),
        memory and memory["gradient"],
        _fixed(record.get("stored_gb")),
        record.get("preset"),
    )


def _fixed(value: float | None, digits: int = 2) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _score(published: dict[str, Any], name: str) -> str | None:
    score, deviation = published[name], published[f"{name}_std"]
    if score is None:
        return None
    return score_text(score) + ("" if deviation is None else f" ± {deviation:.4f}")


def _measurement_text(memory: dict[str, Any]) -> str:
    data = "a generated batch" if memory["data"] == "generated" else f"one part of {memory['data']}"
    return (
        f"Ours: one training step on {data} of {memory['num_nodes']:,} nodes and {memory['num_edges']:,} directed edges, on "
        f"{memory['device']}; all tensors at the peak, with batch ({bytes_text(memory['batch_bytes'])}), weights, gradients and "
        "the optimiser's state. GB are 10^9 bytes."
    )


# --- training -----------------------------------------------------------------------------------------------------------


def _train(plan: Plan, show: Display, *, resume: bool, overwrite: bool, as_json: bool) -> None:
    from revgnn.experiments.report.markdown import table_markdown
    from revgnn.experiments.training.train import Stopped, train_table
    from revgnn.train import Interrupted

    def tell(text: str) -> None:
        show.say(text)
        show.phase("reading the data, building the network")

    try:
        with stop_on_signals() as stop:
            show.phase("reading the data of all networks")
            record = train_table(plan, resume=resume, overwrite=overwrite, hooks=[show], should_stop=stop, tell=tell)
    except (Interrupted, Stopped) as interrupted:
        typer.echo(f"{interrupted} Go on with: {resume_command()}", err=True)
        raise typer.Exit(stop.exit_code) from None
    show.close()
    page, width = table_markdown(record), line_width()
    if as_json:
        typer.echo(json.dumps(record, indent=2))
    elif width is None or all(len(line) <= width for line in page.splitlines()):
        typer.echo(page)
    else:
        typer.echo(_trained_text(record, width))
    show.say(f"results {plan.out / 'table.md'}, {plan.out / 'table.json'}")
    failed = {row["preset"]: row["failed"] for row in record["rows"] if row["failed"]}
    for preset, reason in failed.items():
        typer.echo(f"{preset} could not be trained: {reason}", err=True)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _trained_text(record: dict[str, Any], width: int) -> str:
    """Return the networks with their scores beside the published ones, for lines that are too short for the page."""
    header = ("model", "parameters", "valid", "test", "published", "peak")
    rows = []
    for row in record["rows"]:
        result = row["result"] or {}
        valid, test = ((result.get(part) or {}).get("mean") for part in ("valid", "test"))
        peak = None if "peak_bytes" not in result else bytes_text(result["peak_bytes"])
        scores = (None if valid is None else score_text(valid), None if test is None else score_text(test))
        rows.append((row["name"], row["parameters"], *scores, _score(row["published"], "score"), peak))
    return f"{wrapped(record['title'], width, '  ')}\n{table(header, rows, width)}"
