"""The arguments of `load`, and reading through the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from revgnn.data.cache import cached
from revgnn.data.dataset import NodeDataset

EdgeStorage = Literal["float32", "auto", "float16", "bfloat16"]


class GraphOptions(TypedDict):
    undirected: bool | None
    self_loops: bool | None


@dataclass(frozen=True)
class ReadOptions:
    """The arguments of `load` other than the name."""

    root: Path
    split: int | str
    undirected: bool | None
    self_loops: bool | None
    download: bool
    cache: bool
    edge_storage: EdgeStorage
    ignore_unknown: bool
    archive: Path | None = None

    @property
    def split_number(self) -> int:
        """The split to use where splits are numbered; 0 if `split` is a name."""
        return self.split if isinstance(self.split, int) else 0

    @property
    def graph(self) -> GraphOptions:
        """The options that every reader takes."""
        return {"undirected": self.undirected, "self_loops": self.self_loops}

    def read(
        self, read: Callable[[], NodeDataset], source: Path, files: Sequence[Path], *, split: int = 0, **key: Any
    ) -> NodeDataset:
        """Return `read()` in the requested storage, from the cache if that is allowed.

        Args:
            read: reads the data set.
            source: its file or folder.
            files: the files that `read` reads.
            split: number of the split in use, which `read` uses too.
            key: everything else that the result depends on, besides the options of every reader.
        """

        def read_and_store() -> NodeDataset:
            return self.store(read())

        if not self.cache:
            return read_and_store()
        return cached(read_and_store, source, files, {**key, **self.graph, "edge_storage": self.edge_storage}, split=split)

    def store(self, dataset: NodeDataset) -> NodeDataset:
        """Return the data set with its edge features in the requested storage; readers return float32."""
        if self.edge_storage == "float32":
            return dataset
        return replace(dataset, graph=dataset.graph.compressed(self.edge_storage))


def choose_split(dataset: NodeDataset, split: int | str) -> NodeDataset:
    """Return the data set with a split in use by its number; raise `ValueError` for a name."""
    if isinstance(split, str):
        raise ValueError(f"{dataset.name} has no split named {split!r}; its splits are numbered 0 to {len(dataset.splits) - 1}.")
    return dataset if split == dataset.split_index else dataset.with_split(split)
