"""`write_report`: the page of some runs, and its pictures as files beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from revgnn._text import clean
from revgnn.experiments.run_files.evaluations import read_evaluations
from revgnn.experiments.run_files.found import read_runs
from revgnn.experiments.run_files.reading import RunOnDisk
from revgnn.experiments.run_files.studies import read_study
from revgnn.experiments.run_report.charts.chart import Chart
from revgnn.experiments.run_report.charts.png import has_matplotlib, write_png
from revgnn.experiments.run_report.charts.svg import svg_file
from revgnn.experiments.run_report.compared import best_first, comparable, data_name
from revgnn.experiments.run_report.depth_page import study_lead, study_sections, study_title
from revgnn.experiments.run_report.markup import element
from revgnn.experiments.run_report.measured import measure_memory, measure_views
from revgnn.experiments.run_report.page import Section, page
from revgnn.experiments.run_report.pictures.comparison import by_depth, measured_memory, score_against_memory, views_chart
from revgnn.experiments.run_report.pictures.curves import learning_curves, solver_curves
from revgnn.experiments.run_report.summary import lead_of_many, lead_of_one, machine_section, repeat_section, runs_section
from revgnn.files import write_json, write_text
from revgnn.train.config.errors import ConfigError

PAGE = "report.html"
_LIST = "report.json"
"""Names of the files of the last report, so that the next one can remove those it does not write."""


@dataclass(frozen=True)
class Wishes:
    """What a report has beside what the runs recorded.

    Attributes:
        details: of how many runs, the best first, the weights are looked into; see `details`.
        views: views and parts in which the best run is scored.
        memory: measure one training step of the best run at four depths under each gradient strategy.
        root, data, node_features, device: as in `LoadOptions`.
        png: also draw the pictures as PNG.
    """

    details: int = 1
    views: Sequence[tuple[int, int]] = ()
    memory: bool = False
    root: Path | None = None
    data: Path | None = None
    node_features: Path | None = None
    device: str | None = None
    png: bool = True


@dataclass
class Report:
    """What was written.

    Attributes:
        page: the page.
        pictures: names of the files beside it.
        runs: how many runs it is about.
        notes: what is missing in it, and why.
    """

    page: Path
    runs: int
    pictures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def default_out(folders: Sequence[Path]) -> Path:
    """Return where a report goes: the folder `report` in that of the run, or in what several folders share."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    return (paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.parent for path in paths]))) / "report"


def write_report(
    folders: Sequence[Path], out: Path, wishes: Wishes | None = None, say: Callable[[str], None] = lambda text: None
) -> Report:
    """Write the page of all runs below some folders, and its pictures. An earlier report in `out` is replaced.

    A folder of a depth study alone has a page of its own, made from depth.json; the page of its runs is that of its folder `runs`.

    Args:
        folders: see `RunsReader`.
        out: the folder to write to.
        say: called with a line before something that may take long.

    Raises:
        ConfigError: if there is no run, or `out` holds something else.
        OSError: if a file cannot be written.
    """
    wishes = wishes or Wishes()
    earlier = _check_out(out)
    study = read_study(folders[0]) if len(folders) == 1 else None
    if study is not None:
        report = Report(out / PAGE, sum(len(cell["runs"]) for cell in study["cells"]))
        title, lead, sections = study_title(study), study_lead(study), study_sections(study)
    else:
        runs = read_runs(folders)
        report = Report(out / PAGE, len(runs))
        sections = [section for section in _sections(runs, wishes, report, say) if section.body or section.charts or section.after]
        title = _title(runs, folders)
        lead = lead_of_one(runs[0]) if len(runs) == 1 else lead_of_many(runs)
    out.mkdir(parents=True, exist_ok=True)
    charts = [chart for section in sections for chart in section.charts]
    report.pictures = _write_pictures(charts, out, report, png=wishes.png)
    lead += [element("p", note, class_="problem") for note in report.notes]
    write_text(report.page, page(title, lead, sections))
    for name in earlier - {PAGE, *report.pictures}:
        (out / name).unlink(missing_ok=True)
    write_json(out / _LIST, {"files": [PAGE, *report.pictures]})
    return report


def _title(runs: Sequence[RunOnDisk], folders: Sequence[Path]) -> str:
    name = runs[0].path.name if len(runs) == 1 else default_out(folders).parent.name
    about = data_name(runs[0]) if len(runs) == 1 else f"{len(runs):,} runs"
    return clean(f"Run {name}: {about}" if len(runs) == 1 else f"{name}: {about}", 160)


def _check_out(out: Path) -> set[str]:
    """Return the names of the files of an earlier report in the folder.

    Raises:
        ConfigError: if it is a file, or holds other things and no report.
    """
    if not out.exists():
        return set()
    if not out.is_dir():
        raise ConfigError(f"{out} is a file; choose a folder for the report.")
    try:
        names = json.loads((out / _LIST).read_text(encoding="utf-8"))["files"]
        return {
            name for name in names if isinstance(name, str) and Path(name).name == name and name.endswith((".html", ".svg", ".png"))
        }
    except (OSError, ValueError, LookupError, TypeError):
        if any(out.iterdir()):
            raise ConfigError(f"{out} is not empty and holds no earlier report; choose another --out.") from None
        return set()


def _sections(runs: list[RunOnDisk], wishes: Wishes, report: Report, say: Callable[[str], None]) -> list[Section]:
    best = best_first(comparable(runs) or runs)
    sections = [runs_section(runs)] if len(runs) > 1 else []
    sections.append(Section("Learning curves", charts=learning_curves(runs)))
    against = score_against_memory(runs)
    shared: list[Chart] = [*([] if against is None else [against]), *by_depth(runs)]
    extra = _measured(best[0], wishes, report, say)
    sections.append(Section("Score, memory and depth", charts=[*shared, *extra]))
    solved = [run for run in best if solver_curves(run)][:1]
    for run in solved:
        title = "Equilibrium solves" if len(runs) == 1 else f"Equilibrium solves: {run.name}"
        sections.append(Section(clean(title, 120), charts=solver_curves(run)))
    for number, run in enumerate(best[: wishes.details], start=1):
        charts = _inside(run, wishes, report, say)
        renamed = charts if number == 1 else [_renamed(chart, f"{chart.name}-{number}") for chart in charts]
        title = "What the weights say" if len(runs) == 1 else f"What the weights say: {run.name}"
        sections.append(Section(clean(title, 120), charts=renamed))
    sections.append(repeat_section(runs))
    machine = machine_section(runs)
    return sections if machine is None else [*sections, machine]


def _inside(run: RunOnDisk, wishes: Wishes, report: Report, say: Callable[[str], None]) -> list[Chart]:
    """Return the pictures of what the weights of a run say; where they cannot be used, the reason is noted."""
    if run.best is None:
        return []
    say(f"looking into the weights of {clean(run.name, 60)} ...")
    # Only here: they import torch.
    from revgnn.experiments.run_report.details import run_details
    from revgnn.experiments.run_report.pictures.inside import inside_charts
    from revgnn.train.inference.saved_run import LoadOptions

    options = LoadOptions(root=wishes.root, data=wishes.data, node_features=wishes.node_features, device=wishes.device)
    try:
        return inside_charts(run_details(run.path, options))
    except (ValueError, OSError, ArithmeticError) as error:
        report.notes.append(f"Calibration, confusion, depth and the like of {run.name} are missing: {error}")
        return []


def _measured(run: RunOnDisk, wishes: Wishes, report: Report, say: Callable[[str], None]) -> list[Chart]:
    """Return the pictures of views and parts, and of measured memory, of one run."""
    found: list[Chart | None] = []
    try:
        if wishes.views:
            say(f"scoring {clean(run.name, 60)} in {len(wishes.views)} ways ...")
        scores = {**read_evaluations(run.path), **measure_views(run, wishes)}
        found.append(views_chart(scores, run.metric))
        if wishes.memory:
            say(f"measuring steps of {clean(run.name, 60)} ...")
        memory = measured_memory(measure_memory(run, measure=wishes.memory, root=wishes.root, data=wishes.data))
        if wishes.memory and memory is None:
            report.notes.append(f"Memory by depth of {run.name} is missing: it has too few layers to compare depths.")
        found.append(memory)
    except (ValueError, OSError, ArithmeticError) as error:
        report.notes.append(f"Views, parts or memory by depth of {run.name} are missing: {error}")
    return [chart for chart in found if chart is not None]


def _renamed(chart: Any, name: str) -> Any:
    return replace(chart, name=name)


def _write_pictures(charts: Sequence[Chart], out: Path, report: Report, *, png: bool) -> list[str]:
    """Write each picture as SVG and PNG, and return the names of the files."""
    if png and not has_matplotlib():
        report.notes.append("No PNG files were written: matplotlib is missing (pip install 'revgnn[plots]').")
        png = False
    names = []
    for chart in charts:
        write_text(out / f"{chart.name}.svg", svg_file(chart))
        names.append(f"{chart.name}.svg")
        if png:
            write_png(chart, out / f"{chart.name}.png")
            names.append(f"{chart.name}.png")
    return names
