"""`revgnn train` in the processes that torchrun starts: one of them composes the run, prints and writes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from revgnn.cli.progress import Display
    from revgnn.train import RunConfig
    from revgnn.train.run.spread import Spread
    from revgnn.train.run.team import Team


@contextmanager
def processes(timeout_seconds: float) -> Iterator[Team | None]:
    """Yield the processes of the job, of which this is one; None if it is alone."""
    if os.environ.get("WORLD_SIZE", "1") in ("", "1"):
        yield None
        return
    from revgnn.distributed import RankFailed, join

    with warnings.catch_warnings():
        try:
            with join(timeout_seconds) as team:
                if not team.leads:
                    warnings.simplefilter("ignore")
                yield team
        except RankFailed as error:
            if error.is_told:
                raise SystemExit(1) from None
            raise


def check_options(team: Team, given: dict[str, Any], *, sweep: bool) -> None:
    """Raise `ValueError` for options that several processes do not have."""
    if given["out"] is None:
        raise ValueError(f"{team.size} processes must know the folder of the run; name it with --out DIR.")
    if sweep or given["fit"]:
        raise ValueError("several processes train one run; leave out --seeds, more than one --split, and --fit.")


def chosen_spread(team: Team | None, parallel: str, *, cut: str = "contiguous", pieces: int = 1) -> Spread | None:
    """Return how the processes share their work; None for one that is alone.

    Raises:
        ValueError: for an unknown way, and for one that needs several processes.
    """
    if team is None and (parallel, cut, pieces) == ("parts", "contiguous", 1):
        return None
    from revgnn.distributed import ModeOptions, make_spread

    spread = make_spread(parallel, ModeOptions(cut, pieces))
    if team is None and "WORLD_SIZE" not in os.environ:
        raise ValueError(
            f"--parallel {parallel} needs several processes; start them by torchrun --nproc-per-node 2 -m revgnn ..., or leave it "
            "out."
        )
    return None if team is None else spread


def share_options(team: Team | None, parallel: str, cut: str) -> dict[str, Any]:
    """Return fields of `LoadOptions`: the processes that compute logits together, and how."""
    spread = chosen_spread(team, parallel, cut=cut)
    return {} if team is None or spread is None else {"team": team, "parallel": spread}


def is_restart() -> bool:
    """Return whether torchrun has started the processes again after one of them had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") or 0) > 0


def agree(team: Team, compose: Callable[[], RunConfig], given: dict[str, Any], show: Display) -> RunConfig:
    """Return the run that the leading process composes, in all processes.

    With --parallel parts or weights, a run whose parts a step are not chosen has one for each process. A run that is resumed keeps
    its own.
    """
    from revgnn.train import RunConfig

    def composed() -> dict[str, Any]:
        run = compose()
        chosen = any(setting.partition("=")[0].strip() == "parts_per_step" for setting in given["settings"] or ())
        shares_parts = given["parallel"] in ("parts", "weights")
        if shares_parts and not chosen and (wanted := _parts_per_step(run, team, given)) != run.parts_per_step:
            show.say(f"{team.size} processes: parts_per_step={wanted}, one part for each in a step")
            run = run.replace({"parts_per_step": wanted})
        return run.model_dump(mode="json")

    return RunConfig.parse(team.ask_leader(composed))


def _parts_per_step(run: RunConfig, team: Team, given: dict[str, Any]) -> int:
    from revgnn.train import RunFolder

    folder: Path = given["out"]
    if given["resume"] and (folder / "config.yaml").is_file():
        return RunFolder(folder).config().parts_per_step
    return min(team.size, run.parts) if run.parts_per_step == 1 else run.parts_per_step
