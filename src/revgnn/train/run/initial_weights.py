"""Training that starts from the best weights of another run (`RunConfig.init`)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from revgnn.train.config import ConfigError, RunConfig
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.session import Session
from revgnn.train.run.tensor_file import read_tensors

HEADS = ("head", "last")
"""Modules that return the logits: of RevGAT `last`, of all others `head`."""


def check_initial_weights(config: RunConfig) -> None:
    """Raise `ConfigError` if the run starts from weights that do not exist. No data is loaded."""
    if config.init is not None and not RunFolder(config.init).best_file.is_file():
        raise ConfigError(
            f"there are no weights in {config.init} to start from: it has no best.safetensors. Name the folder of a run that has "
            "been evaluated once."
        )


def load_initial_weights(session: Session) -> bool:
    """Load the weights that the run starts from into the session's model, if its configuration names some.

    A head for other outputs keeps the weights that were drawn for this run.

    Returns:
        Whether the head is a new one.

    Raises:
        ConfigError: if another weight is missing, unknown or of another shape; it names the first and says what differs.
        CheckpointError: if the file is damaged.
    """
    source = session.config.init
    if source is None:
        return False
    weights, _ = read_tensors(RunFolder(source).best_file)
    own = session.model.state_dict()
    heads = {name for name in own.keys() | weights.keys() if name.partition(".")[0] in HEADS}
    misfits = {name for name in own.keys() | weights.keys() if _shape(own, name) != _shape(weights, name)}
    if unfit := misfits - heads:
        name = min(unfit)
        raise ConfigError(
            f"the weights in {source} do not fit this network: {name} has {_shape(weights, name)} there and {_shape(own, name)} "
            f"here{_differences(session.config, source)}. Only the head may differ; use the settings of that run: --config "
            f"{Path(source) / 'config.yaml'}."
        )
    kept = heads if misfits else set()
    session.model.load_state_dict({name: own[name] if name in kept else weights[name] for name in own})
    return bool(misfits)


def _shape(weights: dict[str, Tensor], name: str) -> str:
    return f"shape {tuple(weights[name].shape)}" if name in weights else "no such weight"


def _differences(config: RunConfig, source: str) -> str:
    """Return the settings of the network that differ from those of the other run."""
    try:
        saved = RunFolder(source).config()
    except (ConfigError, OSError):
        return ""
    keys = [
        f"{key} {theirs!r} there, {ours!r} here"
        for key, (theirs, ours) in saved.differences(config).items()
        if key.startswith("model.") or key == "label_inputs"
    ]
    return f" ({'; '.join(keys[:4])})" if keys else ""
