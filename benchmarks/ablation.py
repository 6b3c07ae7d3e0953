"""What lets deep networks train: one change at a time, at a shallow and at a deep network.

    python -m benchmarks ablation --data Cora --root DIR --preset revgnn-7 --set model.conv=gcn --depths 14,112 --out runs/ablation

Every change is made to the same run, at every depth, with the same splits and seeds. Each line has the score of the weights with
the best validation score, the loss after a part of the epochs, the largest number in the state between layers, and whether the
state outgrew its grid. Runs stay in `--out`: a benchmark that was stopped goes on there. What is known is written to
`OUT/ablation.json` after each sweep. `python -m benchmarks ablations` makes the page of all that are committed.

`--change "NAME: KEY=VALUE KEY=VALUE"` makes other changes than the default ones; `--only NAME` leaves the others out.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import revgnn
from benchmarks import harness
from benchmarks.report.ablations import section
from revgnn.experiments.compose import compose
from revgnn.experiments.depth.verdict import differences
from revgnn.experiments.run_files.metrics import MetricsFile, column
from revgnn.experiments.run_report.depth_profile import stack_of, watched
from revgnn.files import write_json
from revgnn.train import RunConfig, sweep
from revgnn.train.inference.saved_run import load_run
from revgnn.train.run import environment
from revgnn.train.run.optimization import Diverged
from revgnn.train.run.session import choose_device
from revgnn.train.sweeps import choose_seeds, choose_splits

AS_IT_IS = "as it is"
CHANGES: dict[str, dict[str, str]] = {
    AS_IT_IS: {},
    "blocks start at zero": {"model.block_init": "zero"},
    "stochastic depth": {"model.stochastic_depth": "0.3"},
    "zero, stochastic depth": {"model.block_init": "zero", "model.stochastic_depth": "0.3"},
    "blocks start scaled": {"model.block_init": "scaled"},
    "rate x 3": {"optim.lr": "x3"},
    "rate / 3": {"optim.lr": "/3"},
    "no warm-up": {"optim.warmup": "0"},
    "weight decay 5e-4": {"optim.weight_decay": "5e-4"},
    "no weight decay": {"optim.weight_decay": "0"},
    "batch norm": {"model.norm": "batch"},
    "layer norm": {"model.norm": "layer"},
    "no norm": {"model.norm": "none"},
    "identical groups": {"model.identical_groups": "true"},
    "float64 state": {"model.state": "float64"},
}
"""What is changed, by name. `x3` and `/3` multiply and divide the value that the run has."""
SHARES = (0.1, 0.3, 1.0)
"""After which shares of the epochs the loss is looked at."""
QUICK = {
    "data": "synthetic:nodes=240,degree=8,tasks=3",
    "depths": "2,4",
    "seeds": "0,1",
    "epochs": 3,
    "settings": ["model.channels=8", "device=cpu"],
    "only": [AS_IT_IS, "blocks start at zero"],
}


def changed(run: RunConfig, settings: Mapping[str, str]) -> RunConfig | None:
    """Return the run with a change; None if the change is none."""
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if value[0] in "x/" and value[1:].replace(".", "").isdigit():
            before, factor = float(_value(run, key)), float(value[1:])
            values[key] = before * factor if value[0] == "x" else before / factor
        else:
            values[key] = value
    found = run.replace(values)
    return None if settings and found == run else found


def _value(run: RunConfig, key: str) -> Any:
    value: Any = run
    for name in key.split("."):
        value = getattr(value, name)
    return value


def measure(run: RunConfig, out: Path, splits: Sequence[int | str], seeds: Sequence[int]) -> dict[str, Any]:
    """Train a run with all splits and seeds, or go on, and return what became of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a state that outgrows its grid: it is in the figures
            summary = sweep(run, out, splits=splits, seeds=seeds, resume=True)
    except Diverged as error:
        return {"diverged": str(error)}
    folders = [out / result["folder"] for result in summary["results"]]
    largest, coarsened = zip(*(state_of(folder) for folder in folders), strict=True)
    return {
        "metric": summary["metric"],
        "runs": [
            {key: result[key] for key in ("split", "seed", "valid", "test", "best_epoch", "seconds_per_epoch", "peak_bytes")}
            for result in summary["results"]
        ],
        "losses": [losses_of(folder, run.epochs) for folder in folders],
        "largest_state": max(largest),
        "coarsened_bits": max(coarsened),
        "parameters": summary["results"][0]["parameters"],
    }


def losses_of(folder: Path, epochs: int) -> list[float | None]:
    """Return the training loss of a run after each of `SHARES` of its epochs."""
    at, values = column(MetricsFile(folder / "metrics.jsonl").read(), "loss")
    known = dict(zip(at, values, strict=True))
    return [known.get(max(1, round(share * epochs))) for share in SHARES]


def state_of(folder: Path) -> tuple[float, int]:
    """Return the largest magnitude in the state after any layer, with the best weights of a run, and by how many bits the grid
    of its state has become coarser."""
    saved = load_run(folder)
    stack = stack_of(saved.session.model)
    if stack is None:
        return 0.0, 0
    largest = 0.0

    def note(place: int, before: list[Tensor], after: list[Tensor]) -> None:
        nonlocal largest
        largest = max([largest, *(float(group.abs().max()) for group in (*before, *after) if group.numel())])

    with torch.no_grad(), watched(stack, note):
        saved.logits()
    return largest, stack.coarsened


def add_gains(cells: Sequence[dict[str, Any]], part: str) -> None:
    """Add to each cell what it gains over the cell of its depth without a change, over runs of the same split and seed."""
    base = {cell["depth"]: cell for cell in cells if cell["change"] == AS_IT_IS}
    for cell in cells:
        other = base.get(cell["depth"])
        if other is None or other is cell or "runs" not in cell or "runs" not in other:
            continue
        scores = {n: {(r["split"], r["seed"]): r[part] for r in each["runs"]} for n, each in enumerate((other, cell))}
        found = differences(scores, larger_is_better=cell["metric"] not in ("mae", "rmse"))
        cell["gain"] = {key: found[0].as_dict()[key] for key in ("gain", "low", "high", "pairs")} if found else None


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    changes = chosen_changes(args)
    base = compose(args.data, preset=args.preset, root=args.root, settings=args.settings or (), changes={"epochs": args.epochs})
    splits, seeds = choose_splits(base, args.split), choose_seeds(base, args.seeds)
    depths = [int(depth) for depth in args.depths.split(",")]
    record: dict[str, Any] = {
        "version": 1,
        "revgnn": revgnn.__version__,
        "data": args.data,
        "command": {"preset": args.preset, "settings": args.settings or [], "epochs": args.epochs},
        "run": base.replace({"data.root": None}).model_dump(mode="json"),
        "splits": splits,
        "seeds": seeds,
        "environment": environment.describe(choose_device(base.device)),
        "shares": SHARES,
        "part": "test",
        "cells": [],
    }
    with harness.progress("training", len(changes) * len(depths), quiet=args.quick or args.json) as tick:
        for name, settings in changes.items():
            for depth in depths:
                run = changed(base.replace({"model.depth": depth}), settings)
                if run is not None:
                    found = measure(run, args.out / name.replace(" ", "-").replace("/", "by") / str(depth), splits, seeds)
                    record["cells"].append({"change": name, "settings": settings, "depth": depth, **found})
                    add_gains(record["cells"], record["part"])
                    write_json(args.out / "ablation.json", record)
                tick(f"{name}, {depth} layers")
    if args.json:
        print(json.dumps(record))
    else:
        print("\n\n".join(section(args.out / "ablation.json")))
        print(f"\nall figures: {args.out / 'ablation.json'}")
    return 0


def chosen_changes(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Return the changes to make: always the run as it is, first."""
    changes = dict(CHANGES)
    if args.change:
        changes = {AS_IT_IS: {}}
        for text in args.change:
            name, _, settings = text.partition(":")
            changes[name.strip()] = dict(word.split("=", 1) for word in settings.split())
    if args.only:
        unknown = set(args.only) - set(changes)
        if unknown:
            raise SystemExit(f"error: there is no change {sorted(unknown)[0]!r}; choose from {', '.join(changes)}.")
        changes = {name: changes[name] for name in changes if name in (*args.only, AS_IT_IS)}
    return changes


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("ablation", __doc__)
    parser.add_argument("--data", default="Cora", help="a data set, as for revgnn train")
    parser.add_argument("--root", type=Path, help="folder that holds the data")
    parser.add_argument("--preset", default="revgnn-7", help="what the runs are based on")
    parser.add_argument("--set", action="append", dest="settings", metavar="KEY=VALUE", help="change a setting of all runs")
    parser.add_argument("--depths", default="14,112", help="layers")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--split", help="splits, as for revgnn train")
    parser.add_argument(
        "--change", action="append", metavar="NAME: KEY=VALUE ...", help="a change to make, instead of the default ones"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="make this change only; repeatable")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder that keeps the runs")
    return harness.parse(parser, argv, QUICK)


if __name__ == "__main__":
    sys.exit(main())
