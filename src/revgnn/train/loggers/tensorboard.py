"""Event files for TensorBoard. TensorBoard appends to them itself, so they are not written by `revgnn.files`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revgnn.train.loggers.logger import Backend, Logger
from revgnn.train.run.events import Started

FOLDER = "tensorboard"
"""Name of the folder of event files in that of a run."""


def tensorboard(folder: Path | str | None = None) -> Logger:
    """Return a logger that writes event files: `tensorboard --logdir runs` shows them.

    A resumed run goes on in the same folder; TensorBoard drops the epochs that it repeats.

    Args:
        folder: of one run's event files. None: `tensorboard` in the folder of each run; what an earlier run left there is removed.

    Raises:
        ImportError: if tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError("logging to TensorBoard needs tensorboard; install it: pip install 'revgnn[tensorboard]'.") from None
    return Logger(_TensorBoard(SummaryWriter, None if folder is None else Path(folder)))


class _TensorBoard(Backend):
    name = "TensorBoard"

    def __init__(self, writer_class: Any, folder: Path | None) -> None:
        self._writer_class, self._folder = writer_class, folder
        self._writer: Any = None
        self._settings: dict[str, bool | int | float | str] = {}

    def begin(self, event: Started, settings: Mapping[str, bool | int | float | str]) -> None:
        folder = event.folder / FOLDER if self._folder is None else self._folder
        if self._folder is None and event.epoch == 0:
            for file in folder.glob("events.out.tfevents.*"):  # of a run that was here before
                file.unlink()
        # What a killed run has logged after its last saved state is trained, and logged, once more.
        purge = event.epoch + 1 if event.epoch else None
        self._writer = self._writer_class(str(folder), purge_step=purge, flush_secs=10)
        self._settings = dict(settings)
        self._writer.add_text("config", f"```yaml\n{event.config.to_yaml()}\n```", event.epoch)
        self._writer.add_text("data", event.dataset, event.epoch)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)

    def finish(self, values: Mapping[str, float]) -> None:
        self._writer.add_hparams(self._settings, dict(values), run_name=".")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
