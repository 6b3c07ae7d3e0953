"""The same run over several splits and seeds, summed up by mean and standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from revgnn.train.config import RunConfig
from revgnn.train.datasets import all_splits
from revgnn.train.events import Hook
from revgnn.train.files import write_json
from revgnn.train.loop import train
from revgnn.train.run_folder import RunFolder, RunFolderError
from revgnn.train.teacher import check_teacher


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
    if config.data is None:
        raise ValueError("a sweep needs a data set; name one.")
    out, hooks = Path(out), tuple(hooks)
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out} is a file; choose a folder to write to.")
    runs = [_one(config, out, split, seed) for split in splits for seed in seeds]
    for run_config, folder in runs:  # all of them before the first starts: nobody wants to hear of the tenth after nine hours
        RunFolder(folder).check(run_config, resume=resume, overwrite=overwrite)
        check_teacher(run_config, RunFolder(folder), resume=resume)
    lines = []
    for run_config, folder in runs:
        result = _finished(run_config, folder) if resume else None
        if result is None:
            result = train(run_config, folder, resume=resume, overwrite=overwrite, hooks=hooks, should_stop=should_stop).as_dict()
        lines.append({"folder": folder.name, **result})
    summary = {
        "dataset": lines[0]["dataset"],
        "metric": lines[0]["metric"],
        "runs": len(lines),
        "valid": _spread([line["valid"] for line in lines]),
        "test": _spread([line["test"] for line in lines if line["test"] is not None]),
        "results": lines,
    }
    write_json(out / "summary.json", summary)
    return summary


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
    assert config.data is not None  # `sweep` checked
    data = config.data.model_copy(update={"split": split})
    return config.model_copy(update={"data": data, "seed": seed}), out / RunFolder.name_in_sweep(split, seed)


def _finished(config: RunConfig, folder: Path) -> dict[str, Any] | None:
    """The result of a run that is done, with as many epochs as are wanted now."""
    if not folder.is_dir():
        return None
    run = RunFolder(folder)
    result = run.result()
    if result is None or (result["stopped"] == "epochs" and result["epochs"] < config.epochs):
        return None
    return result


def _spread(scores: list[float]) -> dict[str, float | None]:
    return {
        "mean": mean(scores) if scores else None,
        "std": stdev(scores) if len(scores) > 1 else None,
    }
