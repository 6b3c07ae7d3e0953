"""Several runs side by side: what their settings differ in, and runs that differ only in seed or split as one group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from revgnn._text import LONGEST_NAME, clean
from revgnn.experiments.run_files.reading import RunOnDisk

_WITHOUT_EFFECT = (
    *("preset", "notes", "data.root", "data.download", "device", "save_every", "init", "data.name", "distillation.teacher"),
)
"""Settings that say where a run was made or came from. The data set has a column of its own."""

_REPEATS = ("seed", "data.split")
"""Settings in which the runs of one group may differ."""

_OF_DEPTH = ("model.depth", "model.gradient", "model.checkpoint_every", "model.segments")
"""Settings in which the runs of a depth study may differ."""

MOST_SETTINGS = 8
"""Columns of settings in a table of runs."""


@dataclass(frozen=True)
class Group:
    """Runs with the same settings but for seed and split.

    Attributes:
        name: the settings that make it different from other groups; the name of the run if there is one alone.
        runs: at least one.
    """

    name: str
    runs: tuple[RunOnDisk, ...]

    def mean(self, part: str) -> float | None:
        """Return the mean score of the runs that have one."""
        scores = self._scores(part)
        return fmean(scores) if scores else None

    def deviation(self, part: str) -> float | None:
        """Return the sample standard deviation; None for fewer than two runs."""
        scores = self._scores(part)
        return stdev(scores) if len(scores) > 1 else None

    @property
    def peak_bytes(self) -> int | None:
        return max((run.peak_bytes for run in self.runs if run.peak_bytes is not None), default=None)

    @property
    def depth(self) -> int | None:
        """The number of layers; None for an equilibrium, and if no configuration can be read."""
        config = self.runs[0].config
        return None if config is None or config.model.family == "equilibrium" else config.model.depth

    @property
    def gradient(self) -> str | None:
        """The gradient strategy in use."""
        config = self.runs[0].config
        return None if config is None else config.model.effective_gradient

    def _scores(self, part: str) -> list[float]:
        return [score for run in self.runs if (score := run.score(part)) is not None]


def differing(runs: Sequence[RunOnDisk]) -> list[str]:
    """Return the dotted keys in which runs differ, those of the network first. A setting that not all have differs too."""
    each = [settings for run in runs if (settings := run.settings)]
    keys = dict.fromkeys(key for settings in each for key in settings)
    found = [key for key in keys if key not in _WITHOUT_EFFECT and len({repr(s.get(key)) for s in each}) > 1]
    return sorted(found, key=lambda key: (key in _REPEATS, not key.startswith("model.")))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return a short name for each key: its last word, if no other key has the same."""
    last = Counter(key.rpartition(".")[2] for key in keys)
    return {key: key.rpartition(".")[2] if last[key.rpartition(".")[2]] == 1 else key for key in keys}


def groups(runs: Sequence[RunOnDisk]) -> list[Group]:
    """Return runs in groups, in the order of their first runs."""
    keys = [key for key in differing(runs) if key not in _REPEATS]
    short = short_names(keys)
    members: dict[tuple[object, ...], list[RunOnDisk]] = {}
    for run in runs:
        settings = run.settings
        key = (run.data, *(repr(settings.get(k)) for k in keys)) if settings else (run.path,)
        members.setdefault(key, []).append(run)
    found = []
    for same in members.values():
        settings = same[0].settings
        shown = [_setting_text(short[k], settings[k]) for k in keys[:4] if settings.get(k) is not None]
        alone = len(same) == 1 and (len(keys) > 4 or len(members) == 1 or not shown)
        found.append(Group(same[0].name if alone or not shown else ", ".join(shown), tuple(same)))
    names = Counter(group.name for group in found)
    return [group if names[group.name] == 1 else Group(group.runs[0].name, group.runs) for group in found]


def comparable(runs: Sequence[RunOnDisk]) -> list[RunOnDisk]:
    """Return the runs of the data set and metric that most of them have: scores of others cannot be compared with them."""
    scored = [run for run in runs if run.score("valid") is not None]
    if not scored:
        return []
    kinds = Counter((run.data, run.metric) for run in scored)
    return [run for run in scored if (run.data, run.metric) == kinds.most_common(1)[0][0]]


def depth_study(runs: Sequence[RunOnDisk]) -> list[Group]:
    """Return the groups that differ in depth and gradient strategy only: of all such families the one with the most depths.

    Runs that have not finished are left out. Fewer than two depths are no study.
    """
    families: dict[tuple[object, ...], list[Group]] = {}
    for group in groups([run for run in runs if run.state == "finished"]):
        if group.depth and group.peak_bytes:
            same = {k: v for k, v in group.runs[0].settings.items() if k not in (*_WITHOUT_EFFECT, *_REPEATS, *_OF_DEPTH)}
            families.setdefault((group.runs[0].data, repr(sorted(same.items()))), []).append(group)
    largest = max(families.values(), key=lambda family: (len({group.depth for group in family}), len(family)), default=[])
    return largest if len({group.depth for group in largest}) > 1 else []


def best_first(runs: Sequence[RunOnDisk]) -> list[RunOnDisk]:
    """Return runs by their validation score, the best first, those without one last."""

    def rank(run: RunOnDisk) -> tuple[bool, float]:
        score = run.score("valid")
        return score is None, 0.0 if score is None else -score if run.larger_is_better else score

    return sorted(runs, key=rank)


def data_name(run: RunOnDisk) -> str:
    """Return the name of a run's data set; of a file its path."""
    if run.result is not None and isinstance(run.result.get("dataset"), str):
        return clean(run.result["dataset"], LONGEST_NAME)
    return "" if run.config is None or run.config.data is None else clean(run.config.data.name, LONGEST_NAME)


def value_text(value: object) -> str:
    """Return the value of a setting as a page shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return clean(f"{value:.4g}" if isinstance(value, float) else value, 40)


def _setting_text(name: str, value: object) -> str:
    """Return a setting with its name; a word, such as that of a strategy, needs none."""
    return clean(value, 40) if isinstance(value, str) and value.isalpha() else f"{name} {value_text(value)}"
