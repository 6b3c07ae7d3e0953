"""The same run over several splits and seeds, summed up by mean and standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from revgnn.train.config import RunConfig
from revgnn.train.datasets import all_splits
from revgnn.train.run.events import Hook
from revgnn.train.run.files import write_json
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.loop import train
from revgnn.train.tricks.teacher import check_teacher


def sweep(
    config: RunConfig,
    out: Path | str,
    *,
    splits: Sequence[int | str],
    seeds: Sequence[int],
    resume: bool = False,
    overwrite: bool = False,
    hooks: Iterable[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train every split with every seed, each into `out/split-S-seed-R`, and write `out/summary.json`.

    With `resume`, finished runs are skipped and an unfinished one goes on where it stopped.

    Returns:
        The summary: a line a run, and for `valid` and `test` the mean and the sample standard deviation (None for one run).

    Raises:
        What `train` raises; runs finished before stay.
    """
    out, hooks = Path(out), tuple(hooks)
    runs = planned_runs(config, out, splits=splits, seeds=seeds)
    check_folders(runs, resume=resume, overwrite=overwrite)
    for run_config, folder in runs:
        check_teacher(run_config, RunFolder(folder), resume=resume)
    lines = []
    for run_config, folder in runs:
        result = finished_result(run_config, folder) if resume else None
        if result is None:
            result = train(run_config, folder, resume=resume, overwrite=overwrite, hooks=hooks, should_stop=should_stop).as_dict()
        lines.append({"folder": folder.name, **result})
    summary = {
        "dataset": lines[0]["dataset"],
        "metric": lines[0]["metric"],
        "runs": len(lines),
        "valid": spread([line["valid"] for line in lines]),
        "test": spread([line["test"] for line in lines if line["test"] is not None]),
        "results": lines,
    }
    write_json(out / "summary.json", summary)
    return summary


def planned_runs(
    config: RunConfig, out: Path, *, splits: Sequence[int | str], seeds: Sequence[int]
) -> list[tuple[RunConfig, Path]]:
    """The runs of a sweep in their order, each with its folder.

    Raises:
        ValueError: if the configuration names no data set.
        RunFolderError: if `out` is a file.
    """
    if config.data is None:
        raise ValueError("a sweep needs a data set; name one.")
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out} is a file; choose a folder to write to.")
    return [_one(config, out, split, seed) for split in splits for seed in seeds]


def check_folders(runs: Iterable[tuple[RunConfig, Path]], *, resume: bool, overwrite: bool) -> None:
    """All of them before the first run starts: nobody wants to hear of the tenth after nine hours.

    Raises:
        RunFolderError: see `RunFolder.check`.
    """
    for config, folder in runs:
        RunFolder(folder).check(config, resume=resume, overwrite=overwrite)


def choose_splits(config: RunConfig, text: str | None) -> list[int | str]:
    """Splits by what a user wrote: None (the configuration's), "all", or one by number or name."""
    if config.data is None or text is None:
        return [] if config.data is None else [config.data.split]
    if text == "all":
        return [*all_splits(config.data)]
    return [int(text) if text.isdecimal() else text]


def choose_seeds(config: RunConfig, text: str | None) -> list[int]:
    """Seeds by what a user wrote: None (the configuration's), or numbers with commas.

    Raises:
        ValueError: if that is not what it is.
    """
    if text is None:
        return [config.seed]
    numbers = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds must be distinct whole numbers with commas between, such as 0,1,2, got {text!r}.")
    return [int(word) for word in numbers]


def _one(config: RunConfig, out: Path, split: int | str, seed: int) -> tuple[RunConfig, Path]:
    assert config.data is not None  # `planned_runs` checked
    data = config.data.model_copy(update={"split": split})
    return config.model_copy(update={"data": data, "seed": seed}), out / RunFolder.name_in_sweep(split, seed)


def finished_result(config: RunConfig, folder: Path) -> dict[str, Any] | None:
    """The result of a run that is done, with as many epochs as are wanted now."""
    if not folder.is_dir():
        return None
    run = RunFolder(folder)
    result = run.result()
    if result is None or (result["stopped"] == "epochs" and result["epochs"] < config.epochs):
        return None
    return result


def spread(scores: Sequence[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation: None where there are too few scores."""
    return {
        "mean": mean(scores) if scores else None,
        "std": stdev(scores) if len(scores) > 1 else None,
    }
