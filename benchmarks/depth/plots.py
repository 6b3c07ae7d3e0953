"""Plots of a result of `python -m benchmarks depth`: SVG files of a few kB, readable on white and on dark pages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Spread
from revgnn.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"Reversible": "#0072b2", "Backprop": "#d55e00", "PyG GroupAddRev": "#009e73"}
"""Colours of the curves, from the palette of Okabe and Ito, which colour-blind readers can tell apart."""
MARKERS = {"Reversible": "o", "Backprop": "s", "PyG GroupAddRev": "^"}
LABELS = {"Reversible": "revgnn, Reversible", "Backprop": "revgnn, Backprop", "PyG GroupAddRev": "PyTorch Geometric, GroupAddRev"}


def by_depth(result: dict[str, Any], folder: Path) -> Path:
    """Write depth.svg, milliseconds a layer and peak memory against layers, one line for each curve; return its path."""
    figure, (left, right) = _panels(2)
    for curve in dict.fromkeys(p["curve"] for p in result["depths"]):
        points = [p for p in result["depths"] if p["curve"] == curve]
        depths = [p["depth"] for p in points]
        timed = [p for p in points if p["seconds"]]
        _draw(left, curve, [p["depth"] for p in timed], [[1e3 * s for s in p["layer_seconds"]] for p in timed])
        _draw(right, curve, depths, [[p["peak_bytes"] / 1e6] for p in points])
    gradients = {p["depth"]: p["parameter_bytes"] / 1e6 for p in result["depths"] if p["parameter_bytes"]}
    right.plot(list(gradients), list(gradients.values()), ":", color="#777777", label="gradients of the parameters")
    for axes, title in ((left, "milliseconds a layer, forward and backward"), (right, "peak memory of a step, MB")):
        axes.set(xscale="log", yscale="log", xlabel="layers")
        axes.set_title(title, fontsize=10)
        axes.legend(frameon=False, fontsize=8)
    return _save(figure, folder / "depth.svg", result)


def by_groups(result: dict[str, Any], folder: Path) -> Path:
    """Write groups.svg, seconds and peak memory of a step against groups; return its path."""
    figure, (left, right) = _panels(2)
    groups = [p["groups"] for p in result["groups"]]
    timed = [p for p in result["groups"] if p["seconds"]]
    _draw(left, "Reversible", [p["groups"] for p in timed], [p["seconds"] for p in timed])
    _draw(right, "Reversible", groups, [[p["peak_bytes"] / 1e6] for p in result["groups"]])
    depth = result["groups"][0]["depth"] if groups else 0
    for axes, title in ((left, f"seconds a step, {depth} layers"), (right, "peak memory of a step, MB")):
        axes.set(xscale="log", xlabel="groups", xticks=groups, xticklabels=[str(g) for g in groups])
        axes.set_title(title, fontsize=10)
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
    return _save(figure, folder / "groups.svg", result)


def _draw(axes: Axes, curve: str, at: Sequence[int], values: Sequence[Sequence[float]]) -> None:
    """Draw medians as a line, and ranges as bars."""
    spreads = [Spread.of(each) for each in values]
    middle = [s.median for s in spreads]
    reach = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
    axes.errorbar(at, middle, yerr=reach, color=COLOURS[curve], marker=MARKERS[curve], markersize=4, capsize=2, label=LABELS[curve])


@functools.cache
def _figure_class() -> Callable[..., Figure]:
    """Return matplotlib's `Figure`, set up for small and reproducible SVG files."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError("plots need matplotlib; install it with: pip install 'revgnn[plots]'") from error
    # identifiers in the file derive from the salt: the same figures give the same bytes
    matplotlib.rcParams["svg.hashsalt"] = "revgnn"
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text, which halves the size
    return Figure


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    # without pyplot, which would look for a window system and keep the figure alive
    figure = _figure_class()(figsize=(4.6 * count, 3.4), layout="constrained")
    panels = [figure.add_subplot(1, count, n + 1) for n in range(count)]
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _save(figure: Figure, path: Path, result: dict[str, Any]) -> Path:
    sizes = "{nodes:,} nodes, {edges:,} edges, {channels} channels; {cpu}, {threads} threads".format(**result)
    figure.suptitle(sizes, fontsize=8, color="#777777")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        figure.savefig(new, format="svg", metadata={"Date": None}, facecolor="white")
    return path
