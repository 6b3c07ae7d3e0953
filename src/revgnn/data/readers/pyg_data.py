"""PyTorch Geometric's `Data`, saved by `torch.save` or in the `processed/` folder of an InMemoryDataset. Nothing is unpickled.

Torch's restricted loader reads the file. Allowed are tensors, plain containers and the containers of PyTorch Geometric.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.data.readers.file_kind import describe_file
from revgnn.data.readers.format import Arrays, Format

FIELDS = {
    "edge_index": "edge_index",
    "x": "x",
    "y": "y",
    "edge_attr": "edge_attr",
    "train_mask": "train",
    "val_mask": "valid",
    "valid_mask": "valid",
    "test_mask": "test",
}
"""Our name of each attribute of `Data` that is used, besides `edge_weight`."""

_NOT_DATA = ("pre_filter.pt", "pre_transform.pt")

_MOST_COPIES, _FEW = 2000, 1_000_000
"""A tensor of more than `_FEW` numbers is refused if it has this many times as many numbers as it stores."""

_log = logging.getLogger("revgnn.data")


def read_data(path: Path) -> Arrays:
    """Return the arrays of the one graph in a file, or in the `processed/` folder of a data set.

    Edges are used as they are stored. Attributes other than `FIELDS` and `edge_weight` are not used.

    Raises:
        ValueError: in one line, if the file cannot be read, holds several graphs, nodes of several types, or no labels of nodes.
    """
    graphs = read_graphs(path)
    if len(graphs) != 1:
        raise ValueError(f"{path} holds {len(graphs):,} graphs; one graph with labels of its nodes is needed.")
    return arrays_of(graphs[0], path)


def read_graphs(path: Path) -> list[dict[str, Any]]:
    """Return the attributes of every graph in a file of `torch.save`, or in the `processed/` folder of a data set.

    Args:
        path: a file with a `Data`, a list of them, or what `InMemoryDataset.save` writes; or a folder with such a file in
            `processed/`.

    Raises:
        ValueError: in one line, if it cannot be read or holds anything else.
    """
    file = _data_file(path) if path.is_dir() else path
    stored = _load(file)
    try:
        return _graphs(stored, file)
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{file} cannot be read as graphs of PyTorch Geometric ({type(error).__name__}: {reason}).") from None


def arrays_of(data: Mapping[str, Any], path: Path) -> Arrays:
    """Return the arrays of a graph with labels of its nodes.

    Args:
        data: the attributes of a `Data`.
        path: its file, for messages.
    """
    if data.get("edge_index") is None:
        hint = "; with adj_t: data.edge_index = torch_geometric.utils.to_edge_index(data.adj_t)[0]" if "adj_t" in data else ""
        raise ValueError(f"{path} has no edge_index, only {', '.join(map(str, list(data)[:10])) or 'nothing'}{hint}.")
    arrays = {ours: _array(data[name], name, path) for name, ours in FIELDS.items() if data.get(name) is not None}
    if data.get("edge_weight") is not None:
        weight = _array(data["edge_weight"], "edge_weight", path)
        columns = [weight.reshape(len(weight), -1)]
        if "edge_attr" in arrays:
            columns.insert(0, arrays["edge_attr"].reshape(len(arrays["edge_attr"]), -1))
        if len({len(column) for column in columns}) > 1:
            raise ValueError(f"{path}: edge_attr has {len(columns[0])} rows and edge_weight {len(weight)}; both need one an edge.")
        arrays["edge_attr"] = np.concatenate(columns, axis=1)
    for part in ("train", "valid", "test"):
        if part in arrays and arrays[part].dtype == np.uint8:
            arrays[part] = arrays[part].astype(bool)
    if "y" not in arrays:
        raise ValueError(f"{path} has no labels of nodes (y).")
    num_nodes = len(arrays["x"]) if "x" in arrays else data.get("num_nodes")
    if isinstance(num_nodes, int) and (not arrays["y"].ndim or len(arrays["y"]) != num_nodes):
        raise ValueError(
            f"{path}: y has shape {arrays['y'].shape}, but there are {num_nodes:,} nodes; it must hold a label a node."
        )
    unused = [str(name) for name in data if name not in FIELDS and name not in ("edge_weight", "num_nodes")]
    if unused:
        _log.info("%s: not used are %s", path, ", ".join(unused[:20]))
    return arrays | {"undirected": np.array(False)}


def _array(value: Any, name: str, path: Path) -> np.ndarray:
    if not isinstance(value, Tensor):
        raise ValueError(f"{path}: {name} must be a tensor, got {type(value).__name__}.")
    value = value.detach()
    # A tensor may show a few stored numbers at many places, by strides of 0 or as a sparse one.
    is_dense = value.layout == torch.strided
    stored = value.untyped_storage().nbytes() // value.element_size() if is_dense else value._nnz()
    if value.numel() > _MOST_COPIES * stored + _FEW:
        raise ValueError(f"{path}: {name} has shape {tuple(value.shape)}, but stores only {stored:,} numbers; save it in full.")
    value = value.as_subclass(Tensor) if is_dense else value.to_dense()
    return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).contiguous().numpy()


# --- files --------------------------------------------------------------------------------------------------------------


def _data_file(folder: Path) -> Path:
    """Return the file of graphs in `processed/`."""
    files = _processed(folder)
    if not files:
        raise ValueError(f"{folder} has no file of graphs in processed/.")
    named = [path for path in files if path.name == "data.pt"]
    if len(files) > 1 and not named:
        raise ValueError(f"{folder / 'processed'} holds {', '.join(path.name for path in files[:5])}; name one of these files.")
    return named[0] if named else files[0]


def _processed(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "processed").glob("*.pt") if path.name not in _NOT_DATA)


@contextmanager
def containers_allowed() -> Iterator[None]:
    """Let torch's restricted loader read the containers of PyTorch Geometric."""
    from torch_geometric.data import Data, HeteroData, data, storage

    attributes = [data.DataTensorAttr, data.DataEdgeAttr]
    stores = [storage.BaseStorage, storage.NodeStorage, storage.EdgeStorage, storage.GlobalStorage]
    # Leaving torch's context takes away all that it was given, also what others have allowed before.
    known = torch.serialization.get_safe_globals()
    new: list[Any] = [cls for cls in (Data, HeteroData, *attributes, *stores) if cls not in known]
    # Indices of sparse tensors are not checked otherwise, and one out of range ends the process.
    with torch.serialization.safe_globals(new), torch.sparse.check_sparse_tensor_invariants():
        yield


def _load(path: Path) -> Any:
    try:
        with containers_allowed():
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}.") from None
    except Exception as error:  # a damaged or malicious file can cause any
        text = " ".join(str(error).split())
        named = re.search(r"GLOBAL (\S{1,100})", text)
        if named is not None:
            raise ValueError(
                f"{path} is refused: it names {named[1]}, which is no container of PyTorch Geometric; nothing is "
                "unpickled. Save a plain graph: torch.save(Data(x=x, edge_index=edge_index, y=y), 'graph.pt')."
            ) from None
        raise ValueError(f"{path} cannot be read as a file of torch.save ({text[:100]}): {describe_file(path)}") from None


def _graphs(stored: Any, path: Path) -> list[dict[str, Any]]:
    from torch_geometric.data import Data, HeteroData

    if isinstance(stored, tuple) and len(stored) in (2, 3) and isinstance(stored[0], dict | Data | HeteroData):
        contents, slices = stored[:2]
        kind = stored[2] if len(stored) == 3 else Data
        if kind is HeteroData or isinstance(contents, HeteroData):
            raise _nodes_of_several_types(path)
        attributes = contents if isinstance(contents, dict) else _attributes(contents, path)
        return [attributes] if slices is None else _separate(attributes, slices)
    if isinstance(stored, list | tuple) and stored:
        return [_attributes(item, path) for item in stored]
    return [_attributes(stored, path)]


def _attributes(stored: Any, path: Path) -> dict[str, Any]:
    from torch_geometric.data import Data, HeteroData

    if isinstance(stored, HeteroData):
        raise _nodes_of_several_types(path)
    if isinstance(stored, dict) and all(isinstance(key, str) for key in stored):
        return stored
    if isinstance(stored, Data):
        # Read as it was stored: a method could use what a hostile file has set.
        mapping = vars(vars(stored)["_store"])["_mapping"]
        if isinstance(mapping, dict):
            return dict(mapping)
    raise ValueError(f"{path} holds {type(stored).__name__}; a graph is a torch_geometric.data.Data.")


def _separate(attributes: dict[str, Any], slices: Any) -> list[dict[str, Any]]:
    """Return the graphs of which a data set has joined all attributes."""
    from torch_geometric.data import Data
    from torch_geometric.data.separate import separate

    count = max((len(cuts) for cuts in slices.values()), default=1) - 1
    joined = Data.from_dict(attributes)
    return [separate(Data, joined, i, slices, decrement=False).to_dict() for i in range(count)]


def _nodes_of_several_types(path: Path) -> ValueError:
    return ValueError(
        f"{path} holds HeteroData, with nodes or edges of several types, which is not supported; make one type of them: "
        "torch.save(data.to_homogeneous(), 'graph.pt')."
    )


FORMAT = Format(
    name="PyTorch Geometric Data",
    endings=(".pt", ".pth"),
    holds="a `Data` with labels of nodes, saved by `torch.save`",
    gives="arrays",
    read=read_data,
)

FOLDER = Format(
    name="InMemoryDataset",
    endings=(),
    holds="a folder with `processed/data.pt`: one graph with labels of nodes",
    gives="arrays",
    read=read_data,
    fits=lambda path: path.is_dir() and bool(_processed(path)),
)
