"""Runs of Weights & Biases."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revgnn.files import write_json
from revgnn.train.loggers.logger import Backend, Logger
from revgnn.train.run.events import Started

ID_FILE = "wandb.json"
"""Name of the file in a run's folder that has the id of its run at Weights & Biases, to go on there."""


def wandb(project: str | None = None, **settings: Any) -> Logger:
    """Return a logger for Weights & Biases. A resumed run goes on under its id.

    Args:
        project: of the run. Default: $WANDB_PROJECT, or "revgnn".
        settings: more arguments of `wandb.init`, such as `mode="offline"`, `entity` or `tags`.

    Raises:
        ImportError: if wandb is not installed.
    """
    try:
        import wandb as module  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("logging to Weights & Biases needs wandb; install it: pip install 'revgnn[wandb]'.") from None
    return Logger(_WandB(module, {"project": project or os.environ.get("WANDB_PROJECT") or "revgnn", **settings}))


class _WandB(Backend):
    name = "Weights & Biases"

    def __init__(self, module: Any, settings: dict[str, Any]) -> None:
        self._module, self._settings = module, settings
        self._run: Any = None

    def begin(self, event: Started, settings: Mapping[str, bool | int | float | str]) -> None:
        self._check_login()
        run_id = _known_id(event.folder) if event.epoch else None
        if run_id is None:
            run_id = secrets.token_hex(4)
            write_json(event.folder / ID_FILE, {"id": run_id})
        given = {"dir": str(event.folder), "name": event.folder.name, **self._settings}
        self._run = self._module.init(**given, id=run_id, resume="allow", config=dict(settings))

    def _check_login(self) -> None:
        """Raise an error if wandb would ask who the user is, in the middle of a display and of a script."""
        if (self._settings.get("mode") or os.environ.get("WANDB_MODE") or "online") not in ("online", "shared"):
            return
        try:
            knows = self._module.login(prompt=False)
        except TypeError:  # earlier versions cannot say it without asking
            return
        if not knows:
            raise PermissionError("it does not know you; run `wandb login` first, or set WANDB_MODE=offline")

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=epoch)

    def finish(self, values: Mapping[str, float]) -> None:
        self._run.summary.update(dict(values))

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
        self._run = None


def _known_id(folder: Path) -> str | None:
    """Return the id under which the run in a folder was logged; None if there is none, or its file is damaged."""
    try:
        found = json.loads((folder / ID_FILE).read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and found.isalnum() else None
