"""The configuration of a run, from what a user asks for: a data set, a preset or a file, and changes to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from revgnn.experiments.presets import all_presets, get_preset
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError

DEFAULT_PRESET = "revgnn-28"
"""The preset for a data set that has none of its own."""

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".gz")
"""As `revgnn.data.tables.files.ENDINGS`, which cannot be imported without torch."""


def compose(
    dataset: str | None = None,
    *,
    preset: str | None = None,
    config_file: Path | None = None,
    root: Path | None = None,
    download: bool = False,
    teacher: Path | None = None,
    settings: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Return the configuration of a run: a preset or file, changed by the data set, then by `settings`, then by `changes`.

    Without a preset and a file, the preset is the one named like the data set (without `ogbn-`), or else `DEFAULT_PRESET`.

    Args:
        dataset: a name, or the path of a file or folder. Paths are stored as absolute paths, so that a run finds its data from any
            working directory.
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
        config = get_preset(preset or _preset_for(dataset))
    folder = None if root is None else str(root.absolute())
    if dataset is not None:
        config = config.with_data(_absolute_if_path(dataset), folder)
    elif config.data is None:
        raise ConfigError(f"preset {config.preset} fits any data set; name one: revgnn train DATASET (see revgnn datasets).")
    elif folder is not None:
        config = config.replace({"data.root": folder})
    if download:
        config = config.replace({"data.download": True})
    if teacher is not None:
        config = config.replace({"distillation.teacher": str(teacher)})
    config = config.override(settings)
    return config.replace({key: value for key, value in (changes or {}).items() if value is not None})


def default_folder(config: RunConfig) -> Path:
    """Return the folder of a run if the user names none: runs/DATASET-PRESET."""
    data = Path(config.data.name).stem if config.data else "run"
    return Path("runs") / "-".join(filter(None, (data.replace(":", "-").replace(",", "-"), config.preset)))


def _preset_for(dataset: str | None) -> str:
    if dataset is None:
        raise ConfigError("name a data set, a --preset or a --config: revgnn train tolokers --preset revgnn-28.")
    known = {preset.name for preset in all_presets()}
    name = dataset.lower().removeprefix("ogbn-")
    return name if name in known else DEFAULT_PRESET


def _absolute_if_path(dataset: str) -> str:
    path = Path(dataset).expanduser()
    is_path = os.sep in dataset or dataset.endswith((".npz", *TABLE_ENDINGS)) or any(path.glob("nodes.*"))
    return str(path.absolute()) if is_path and path.exists() else dataset
