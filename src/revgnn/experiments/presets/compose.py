"""From what a user asks for (a data set, a preset or a file, some changes) to the configuration of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from revgnn.experiments.presets.registry import all_presets, get_preset
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError

DEFAULT_PRESET = "revgnn-28"


def compose(
    dataset: str | None = None,
    *,
    preset: str | None = None,
    config_file: Path | None = None,
    root: Path | None = None,
    download: bool = False,
    teacher: Path | None = None,
    settings: Sequence[str] = (),
    **values: Any,
) -> RunConfig:
    """The run that was asked for; what comes later wins: preset or file, data set, `settings`, `values`.

    With neither preset nor file it is the preset named like the data set (without `ogbn-`), or else `DEFAULT_PRESET`.

    Args:
        dataset: a name, or the path of a file or folder; paths are stored absolute, so that a run finds its data from anywhere.
        teacher: folder of the run, or of the sweep, to learn from.
        settings: assignments such as `model.depth=28`.
        values: top-level keys of `RunConfig` that replace what stands there; None leaves it.

    Raises:
        ConfigError: for anything unknown or contradictory, with the nearest names.
        OSError: if the file cannot be read.
    """
    if preset is not None and config_file is not None:
        raise ConfigError("--preset and --config both describe a whole run; give one of them, and change keys by --set.")
    if config_file is not None:
        config = RunConfig.from_yaml(config_file)
    else:
        config = get_preset(preset or _preset_for(dataset))
    place = None if root is None else str(root.absolute())
    if dataset is not None:
        config = config.with_data(_absolute_if_path(dataset), place)
    elif config.data is None:
        raise ConfigError(f"preset {config.preset} fits any data set; name one: revgnn train DATASET (see revgnn datasets).")
    elif place is not None:
        config = config.replace({"data.root": place})
    if download:
        config = config.replace({"data.download": True})
    if teacher is not None:
        config = config.replace({"distillation.teacher": str(teacher)})
    config = config.override(settings)
    return config.replace({key: value for key, value in values.items() if value is not None})


def default_folder(config: RunConfig) -> Path:
    """Where a run goes when nobody says: runs/DATASET-PRESET."""
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
    is_path = os.sep in dataset or dataset.endswith(".npz")
    return str(path.absolute()) if is_path and path.exists() else dataset
