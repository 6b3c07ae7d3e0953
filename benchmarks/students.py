"""A shallow student of a deep teacher: scores and inference time of the teacher, the student, and the same student alone.

    python -m benchmarks students --data minesweeper --root DIR --preset tolokers --set model.conv=sage --out runs/students

All three are trained on the same splits and seeds, the student from the logits of the teacher with its split and seed. A folder
that is named by `--out` keeps the runs: a benchmark that was stopped goes on there. First, the scores of all runs are computed
again from their weights; if one differs from what was recorded, no figure is printed. Then each predicts on the whole graph, in
turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from benchmarks import harness
from revgnn.experiments.compose import compose
from revgnn.experiments.depth.statistics import Mean
from revgnn.experiments.depth.verdict import differences
from revgnn.train import RunConfig, RunFolder, sweep
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.saved_run import load_run
from revgnn.train.sweeps import choose_seeds, choose_splits

QUICK = {
    "data": "synthetic:nodes=240,degree=8,tasks=3",
    "deep": 4,
    "shallow": 2,
    "seeds": "0,1",
    "epochs": 2,
    "repeats": 2,
    "settings": ["model.channels=8", "device=cpu"],
}
NAMES = ("teacher", "student", "student alone")


def configurations(args: argparse.Namespace, out: Path) -> dict[str, RunConfig]:
    """Return the runs of teacher, student, and student alone."""
    base = compose(args.data, preset=args.preset, root=args.root, settings=args.settings or (), changes={"epochs": args.epochs})
    teacher, alone = (base.replace({"model.depth": depth, "distillation": None}) for depth in (args.deep, args.shallow))
    distillation = {"distillation.teacher": str(out / "teacher"), "distillation.alpha": args.alpha}
    student = alone.replace({**distillation, "distillation.temperature": args.temperature})
    return dict(zip(NAMES, (teacher, student, alone), strict=True))


def check_scores(out: Path) -> None:
    """Check that the weights of each run score what was recorded.

    Raises:
        AssertionError: if a score differs.
    """
    for name in NAMES:
        for folder in RunFolder.runs_of_sweep(out / name):
            result, again = RunFolder(folder).result(), evaluate_run(folder)
            assert result is not None
            for part in ("valid", "test"):
                if again[part] != result[part]:
                    raise AssertionError(f"{folder} recorded {part} {result[part]}, and its weights score {again[part]}")


def predictors(out: Path) -> dict[str, Callable[[], torch.Tensor]]:
    """Return a prediction on the whole graph by the first run of each."""
    return {name: load_run(RunFolder.runs_of_sweep(out / name)[0]).logits for name in NAMES}


def summarise(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return means with intervals, and what the student gains by its teacher, over runs of the same split and seed."""
    metric, part = summaries["teacher"]["metric"], "test"
    if any(run["test"] is None for each in summaries.values() for run in each["results"]):
        part = "valid"
    means = {name: Mean.of([run[part] for run in each["results"]]) for name, each in summaries.items()}
    scores = {
        number: {(run["split"], run["seed"]): run[part] for run in summaries[name]["results"]}
        for number, name in enumerate(("student alone", "student"))
    }
    (gain,) = differences(scores, larger_is_better=metric not in ("mae", "rmse"))
    found = {
        "scores": {name: None if mean is None else vars(mean) for name, mean in means.items()},
        "gain": {key: value for key, value in gain.as_dict().items() if key not in ("shallow", "deep", "p_holm")},
        "parameters": {name: each["results"][0]["parameters"] for name, each in summaries.items()},
    }
    return {"metric": metric, "part": part, **found}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.make_parser("students", __doc__)
    parser.add_argument("--data", default="minesweeper", help="a data set, as for revgnn train")
    parser.add_argument("--root", type=Path, help="folder that holds the data")
    parser.add_argument("--preset", default="revgnn-28", help="what the runs are based on")
    parser.add_argument("--set", action="append", dest="settings", metavar="KEY=VALUE", help="change a setting of all runs")
    parser.add_argument("--deep", type=int, default=112, help="layers of the teacher")
    parser.add_argument("--shallow", type=int, default=7, help="layers of the student")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--split", help="splits, as for revgnn train")
    parser.add_argument("--alpha", type=float, default=0.5, help="share of the teacher in the loss")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the logits in the loss")
    parser.add_argument("--repeats", type=int, default=10, help="timed rounds of predictions")
    parser.add_argument("--out", type=Path, help="folder that keeps the runs; default: they are removed")
    return harness.parse(parser, argv, QUICK)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    where: AbstractContextManager[Any] = tempfile.TemporaryDirectory() if args.out is None else nullcontext(args.out)
    with where as folder:
        out = Path(folder)
        runs, summaries = configurations(args, out), {}
        with harness.progress("training", len(runs), quiet=args.quick or args.json) as tick:
            for name, run in runs.items():
                splits, seeds = choose_splits(run, args.split), choose_seeds(run, args.seeds)
                summaries[name] = sweep(run, out / name, splits=splits, seeds=seeds, resume=True)
                tick(name)
        if not harness.checks_pass(lambda: check_scores(out)):
            return 1
        keys = ("data", "preset", "settings", "deep", "shallow", "epochs", "seeds", "split", "alpha", "temperature", "repeats")
        with harness.result_line("students", {key: getattr(args, key) for key in keys}, args) as result:
            result |= summarise(summaries)
            contestants = predictors(out)
            for predict in contestants.values():
                predict()
            result["seconds"] = {}
            harness.interleaved(contestants, args.repeats, into=result["seconds"])
            if not args.json:
                print(show(result))
    return 0


def show(result: Mapping[str, Any]) -> str:
    """Return the table and what surrounds it."""
    rows = []
    for name, mean in result["scores"].items():
        half = "" if mean["high"] is None else f" ± {mean['high'] - mean['mean']:.4f}"
        layers = result["deep"] if name == "teacher" else result["shallow"]
        seconds = harness.Spread.of(result["seconds"][name]).text()
        rows.append([name, layers, f"{result['parameters'][name]:,}", f"{mean['mean']:.4f}{half}", seconds])
    gain, runs = result["gain"], result["scores"]["teacher"]["n"]
    interval = "" if gain["low"] is None else f", interval {gain['low']:.4f} to {gain['high']:.4f}"
    faster = harness.ratios(result["seconds"]["teacher"], result["seconds"]["student"]).text()
    score = f"{result['metric']} ({result['part']})"
    header = ["", "layers", "parameters", f"{score}, mean ± half of its 95 % t interval", "seconds to predict, median (range)"]
    return "\n".join(
        [
            f"{result['data']}, {result['preset']}, {result['epochs']} epochs, {runs} runs each.",
            f"{result['cpu']}, {result['threads']} threads, torch {torch.__version__}, commit {result['commit']}\n",
            harness.table(header, rows),
            f"\nThe student gains {gain['gain']:+.4f}{interval} by its teacher ({gain['pairs']} pairs of runs), and predicts "
            f"{faster} times as fast as it.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
