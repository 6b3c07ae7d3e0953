"""The same run over several splits and seeds, with mean and standard deviation of their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from revgnn._words import CONFIG, speaks_python
from revgnn.data.fingerprint import Fingerprint
from revgnn.files import write_json
from revgnn.train.config import DataConfig, RunConfig
from revgnn.train.datasets import all_splits, load_with_fingerprint
from revgnn.train.inference.evaluate import mean_and_std
from revgnn.train.run.changed_data import check_same_data
from revgnn.train.run.events import Hook
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.loop import train
from revgnn.train.tricks.teacher import check_teacher


@speaks_python(CONFIG)
def sweep(
    config: RunConfig,
    out: Path | str,
    *,
    splits: Sequence[int | str],
    seeds: Sequence[int],
    resume: bool = False,
    overwrite: bool = False,
    allow_changed_data: bool = False,
    hooks: Iterable[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train every split with every seed, each into `out/split-S-seed-R`, and write `out/summary.json`.

    With `resume`, unfinished runs are resumed, and finished runs are skipped if their data are still the same.
    The other arguments are those of `train`.

    Returns:
        The summary: the result of each run, and the mean and sample standard deviation of `valid` and `test` (None for one run).

    Raises:
        What `train` raises. Runs that are already finished stay.
    """
    out, hooks = Path(out), tuple(hooks)
    runs = planned_runs(config, out, splits=splits, seeds=seeds)
    check_folders(runs, resume=resume, overwrite=overwrite)
    for run_config, folder in runs:
        check_teacher(run_config, RunFolder(folder), resume=resume)
    results, fingerprints = [], dict[DataConfig, Fingerprint]()
    for run_config, folder in runs:
        result = finished_result(run_config, folder) if resume else None
        if result is not None:
            data = run_config.data
            assert data is not None  # `planned_runs` checked
            if data not in fingerprints:
                fingerprints[data] = load_with_fingerprint(data)[1]
            check_same_data(RunFolder(folder).best_scores(), fingerprints[data], folder, allow_changed=allow_changed_data)
        else:
            result = train(
                run_config,
                folder,
                resume=resume,
                overwrite=overwrite,
                allow_changed_data=allow_changed_data,
                hooks=hooks,
                should_stop=should_stop,
            ).as_dict()
        results.append({"folder": folder.name, **result})
    summary = {
        "dataset": results[0]["dataset"],
        "metric": results[0]["metric"],
        "runs": len(results),
        "valid": mean_and_std([result["valid"] for result in results]),
        "test": mean_and_std([result["test"] for result in results if result["test"] is not None]),
        "results": results,
    }
    write_json(out / "summary.json", summary)
    return summary


def planned_runs(
    config: RunConfig, out: Path, *, splits: Sequence[int | str], seeds: Sequence[int]
) -> list[tuple[RunConfig, Path]]:
    """Return the runs of a sweep in their order, each with its folder.

    Raises:
        ValueError: if the configuration names no data set.
        RunFolderError: if `out` is a file.
    """
    if config.data is None:
        raise ValueError("a sweep needs a data set; set data.name in the configuration.")
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out} is a file; choose a folder to write to.")
    return [_planned_run(config, out, split, seed) for split in splits for seed in seeds]


def check_folders(runs: Iterable[tuple[RunConfig, Path]], *, resume: bool, overwrite: bool) -> None:
    """Check the folders of all runs before the first one starts.

    Raises:
        RunFolderError: see `RunFolder.check`.
    """
    for config, folder in runs:
        RunFolder(folder).check(config, resume=resume, overwrite=overwrite)


def choose_splits(config: RunConfig, text: str | None) -> list[int | str]:
    """Return the splits that a user asked for: None (the configuration's), "all", numbers with commas, or the name of one split."""
    if config.data is None or text is None:
        return [] if config.data is None else [config.data.split]
    if text == "all":
        return [*all_splits(config.data)]
    numbers = [word.strip() for word in text.split(",")]
    return [int(word) for word in numbers] if all(word.isdecimal() for word in numbers) else [text]


def choose_seeds(config: RunConfig, text: str | None) -> list[int]:
    """Return the seeds that a user asked for: None (the configuration's), or numbers separated by commas.

    Raises:
        ValueError: for any other text.
    """
    if text is None:
        return [config.seed]
    numbers = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds must be distinct whole numbers separated by commas, such as 0,1,2, got {text!r}.")
    return [int(word) for word in numbers]


def _planned_run(config: RunConfig, out: Path, split: int | str, seed: int) -> tuple[RunConfig, Path]:
    assert config.data is not None  # `planned_runs` checked
    data = config.data.model_copy(update={"split": split})
    return config.model_copy(update={"data": data, "seed": seed}), out / RunFolder.name_in_sweep(split, seed)


def finished_result(config: RunConfig, folder: Path) -> dict[str, Any] | None:
    """Return the result of a finished run; None if it is unfinished, or if `config` asks for more epochs."""
    if not folder.is_dir():
        return None
    run = RunFolder(folder)
    result = run.result()
    if result is None or (result["stopped"] == "epochs" and result["epochs"] < config.epochs):
        return None
    return result
