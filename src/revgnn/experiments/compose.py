"""The configuration of a run, from what a user asks for: a data set, a preset or a file, and changes to it."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from revgnn.experiments.presets import all_presets, get_preset
from revgnn.files import expanded, remove_empty
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError

AUTO = "auto"
"""The preset that looks at the graph, for a data set that has none of its own; see `revgnn.experiments.auto`."""


def compose(
    dataset: str | None = None,
    *,
    preset: str | RunConfig | None = None,
    config_file: Path | None = None,
    root: Path | None = None,
    download: bool = False,
    teacher: Path | None = None,
    settings: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Return the configuration of a run: a preset or file, changed by the data set, then by `settings`, then by `changes`.

    Without a preset and a file, the preset is the one named like the data set (without `ogbn-`), or else `AUTO`, which has no
    settings of its own until `auto.choice_for` has looked at the data.

    Args:
        dataset: a name, or the path of a file or folder. Paths are stored as absolute paths, so that a run finds its data from any
            working directory.
        preset: the name of a preset, or a run to start from.
        root: the folder that holds the data.
        download: whether to download a published data set that is missing.
        teacher: the folder of the run, or of the sweep, to learn from.
        settings: assignments such as `model.depth=28`.
        changes: values by key of `RunConfig`; those that are None change nothing.

    Raises:
        ConfigError: for an unknown or contradictory value, with the nearest names.
        OSError: if the file cannot be read.
    """
    if preset is not None and config_file is not None:
        raise ConfigError("--preset and --config both describe a whole run; give one of them, and change keys by --set.")
    if config_file is not None:
        config = RunConfig.from_yaml(config_file)
    else:
        config = preset if isinstance(preset, RunConfig) else get_preset(preset or _preset_for(dataset))
    folder = None if root is None else str(root.absolute())
    if dataset is not None:
        config = config.with_data(_absolute_if_path(dataset), folder)
    elif config.data is None:
        raise ConfigError(f"preset {config.preset} fits any data set; name one: revgnn train DATASET (see revgnn datasets).")
    else:
        config = config.with_data_at(root=root)
    if download:
        config = config.replace({"data.download": True})
    if teacher is not None:
        config = config.replace({"distillation.teacher": str(teacher)})
    config = config.override(settings)
    return config.replace({key: value for key, value in (changes or {}).items() if value is not None})


@contextmanager
def default_folder(config: RunConfig, *, resume: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """Yield the folder of a run if the user names none: runs/DATASET-PRESET, with -run2, -run3, ... if that exists.

    A new folder is created, so that no other process gets the same one; it is removed if it is still empty after the block. With
    `resume` or `overwrite` it is the folder that exists.

    Raises:
        ConfigError: if the run to resume or to overwrite could be in several folders, or if both are asked for.
        OSError: if the folder cannot be created.
    """
    if resume and overwrite:
        raise ConfigError("--resume continues the run in a folder and --overwrite replaces it; give one of them.")
    first = _first_default_folder(config)
    existing = _default_folders(first)
    if (resume or overwrite) and existing:
        yield _choose_existing(existing, config) if resume else _only_one(existing, existing)
        return
    created = [path for path in first.parents if not path.exists()]
    folder = _create_new(first)
    try:
        yield folder
    finally:
        remove_empty([folder, *created])


def _first_default_folder(config: RunConfig) -> Path:
    data = Path(config.data.name).stem if config.data else "run"
    return Path("runs") / "-".join(filter(None, (data.replace(":", "-").replace(",", "-"), config.preset)))


def _default_folders(first: Path) -> list[Path]:
    """Return the default folders that exist, in the order of their numbers."""
    numbers = {path: path.name.rpartition("-run")[2] for path in first.parent.glob(f"{glob.escape(first.name)}-run*")}
    numbered = sorted((int(number), path) for path, number in numbers.items() if number.isdecimal())
    return [*([first] if first.exists() else []), *(path for _, path in numbered)]


def _create_new(first: Path) -> Path:
    first.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-run{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError  # the numbers do not end


def _choose_existing(existing: list[Path], config: RunConfig) -> Path:
    """Return the folder of the run to resume: the only one, or the only one with this configuration (that is unfinished)."""
    if len(existing) == 1:
        return existing[0]
    same = [folder for folder in existing if _holds(folder, config)]
    unfinished = [folder for folder in same if not (folder / "result.json").exists()]
    return _only_one(same if len(same) == 1 else unfinished, existing)


def _only_one(chosen: list[Path], existing: list[Path]) -> Path:
    if len(chosen) == 1:
        return chosen[0]
    raise ConfigError(f"which run is meant is not clear: there are {', '.join(map(str, existing))}; name one with --out.")


def _holds(folder: Path, config: RunConfig) -> bool:
    file = folder / "config.yaml"
    return file.is_file() and not RunConfig.from_yaml(file).differences(config)


def _preset_for(dataset: str | None) -> str:
    if dataset is None:
        raise ConfigError("name a data set, a --preset or a --config: revgnn train tolokers.")
    known = {preset.name for preset in all_presets()}
    name = dataset.lower().removeprefix("ogbn-")
    return name if name in known else AUTO


def _absolute_if_path(dataset: str) -> str:
    path = expanded(dataset)
    is_path = os.sep in dataset or bool(path.suffix) or any(path.glob("nodes.*"))
    return str(path.absolute()) if is_path and path.exists() else dataset
