"""Data sets of PyTorch Geometric by the name of their class, such as `pyg:Planetoid:PubMed`."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from revgnn.data.readers.format import Arrays
from revgnn.data.readers.pyg_data import arrays_of, containers_allowed

PREFIX = "pyg:"
GRAMMAR = "pyg:CLASS or pyg:CLASS:NAME, such as pyg:Planetoid:PubMed"

OWN_READERS = {"Planetoid": "planetoid", "Amazon": "amazon", "HeterophilousGraphDataset": "heterophilous"}
"""Classes of which revgnn reads the raw files itself, without running their pickles; with the kind of their catalogue entries."""


class NotThereError(ValueError):
    """The files of a data set are missing, and downloads are not allowed."""


def split_name(name: str) -> tuple[str, str]:
    """Return the class and the name of the set in `pyg:CLASS:NAME`; the latter is "" where there is none.

    Raises:
        ValueError: for another form.
    """
    class_name, _, set_name = name[len(PREFIX) :].partition(":")
    if not class_name.isidentifier() or ":" in set_name:
        raise ValueError(f"{name!r} is no data set of PyTorch Geometric; write {GRAMMAR}.")
    return class_name, set_name


def read_pyg_class(class_name: str, set_name: str, root: Path, *, download: bool) -> Arrays:
    """Return the arrays of the one graph of a data set.

    The class itself reads the files, and writes `processed/` beside them. It downloads only if that is allowed. Files of torch are
    loaded with `weights_only`.

    Args:
        class_name: a class of `torch_geometric.datasets`.
        set_name: its argument `name`; "" if it has none.
        root: where its files are: here, or in a folder below named like the class or the set.
        download: download what is missing.

    Raises:
        ValueError: in one line, if there is no such class, it takes other arguments, its files are missing or cannot be read, or it
            holds several graphs or nodes of several types.
    """
    cls = _find_class(class_name)
    arguments = _arguments(cls, class_name, set_name)
    where = f"{PREFIX}{class_name}{':' if set_name else ''}{set_name}"
    dataset = _open(cls, arguments, root, where, download=download)
    if len(dataset) != 1:
        raise ValueError(f"{where} holds {len(dataset):,} graphs; one graph with labels of its nodes is needed.")
    data = dataset[0]
    from torch_geometric.data import Data

    if not isinstance(data, Data):
        raise ValueError(
            f"{where} holds {type(data).__name__}, which is not supported; make one type of nodes of it: "
            "torch.save(data.to_homogeneous(), 'graph.pt')."
        )
    return arrays_of(data.to_dict(), Path(where))


def _find_class(class_name: str) -> Any:
    from torch_geometric import datasets
    from torch_geometric.data import Dataset

    found = getattr(datasets, class_name, None) if class_name in datasets.__all__ else None
    if not inspect.isclass(found) or not issubclass(found, Dataset):
        near = difflib.get_close_matches(class_name, datasets.__all__, n=3)
        guess = f"did you mean {', '.join(near)}?" if near else f"write {GRAMMAR}."
        raise ValueError(f"torch_geometric.datasets has no data set {class_name!r}; {guess}")
    return found


def _arguments(cls: Any, class_name: str, set_name: str) -> dict[str, str]:
    """Return the arguments besides `root`; raise `ValueError` unless they are at most `name`."""
    parameters = inspect.signature(cls.__init__).parameters
    plain = [p for p in parameters.values() if p.name != "self" and p.kind is not p.VAR_KEYWORD]
    needed = [p.name for p in plain if p.default is p.empty and p.name not in ("root", "name")]
    if needed:
        raise ValueError(
            f"{class_name} needs {', '.join(needed)} too; build it and save its graph: torch.save(dataset[0], 'graph.pt')."
        )
    takes_name = "name" in parameters
    if set_name and not takes_name:
        raise ValueError(f"{class_name} takes no name, got {set_name!r}; write {PREFIX}{class_name}.")
    if not set_name and takes_name and parameters["name"].default is inspect.Parameter.empty:
        known = next((value for key in ("names", "datasets", "available_datasets") if (value := getattr(cls, key, None))), ())
        shown = (
            f", one of {', '.join(sorted(map(str, known))[:20])}" if isinstance(known, list | tuple | dict | set) and known else ""
        )
        raise ValueError(f"{class_name} needs a name{shown}: {PREFIX}{class_name}:NAME.")
    return {"name": set_name} if set_name else {}


def _open(cls: Any, arguments: dict[str, str], root: Path, where: str, *, download: bool) -> Any:
    """Return the data set from the first folder that holds it."""
    if "root" not in inspect.signature(cls.__init__).parameters:
        return _build(cls, arguments, where)  # it is generated, or part of the library
    folders = [root / cls.__name__, root, root / (arguments.get("name") or cls.__name__)]
    for folder in folders:
        if folder.is_dir():
            try:
                return _build(_without_download(cls), arguments | {"root": str(folder)}, where)
            except NotThereError:
                continue
    if download:
        return _build(cls, arguments | {"root": str(folders[0])}, where)
    raise NotThereError(
        f"{where} is not there: looked for its raw or processed files in {', '.join(map(str, dict.fromkeys(folders)))}; pass "
        "--download to download it, or the folder that holds it as root."
    )


def _build(cls: Any, arguments: dict[str, str], where: str) -> Any:
    try:
        with _only_weights():
            return cls(**arguments)
    except NotThereError:
        raise
    except AssertionError:
        raise ValueError(f"{where} is refused by its class: is the name right?") from None
    except Exception as error:  # each class reads its files in its own way
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{where} cannot be read by PyTorch Geometric ({type(error).__name__}: {reason}).") from None


def _without_download(cls: Any) -> Any:
    """Return the class with a download that raises `NotThereError`."""

    def refuse(self: Any) -> None:
        from torch_geometric.data.dataset import files_exist

        if not files_exist(self.raw_paths) and not files_exist(self.processed_paths):
            raise NotThereError(f"nothing in {self.raw_dir}")

    return type(cls.__name__, (cls,), {"_download": refuse, "__module__": cls.__module__})


@contextmanager
def _only_weights() -> Iterator[None]:
    """Let `torch.load` read tensors and containers only, also where PyTorch Geometric asks for more."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with containers_allowed():
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
