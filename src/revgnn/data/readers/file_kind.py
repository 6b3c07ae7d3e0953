"""What a file that no reader understands most likely is, and what can be read instead."""

from __future__ import annotations

from pathlib import Path

FORMATS = (
    "an .npz file with the arrays of docs/data.md, tables (nodes and edges as .csv, .tsv, .jsonl or .parquet), GraphML, an edge "
    "list, a graph of PyTorch Geometric, and others (`revgnn datasets --formats` lists all)"
)

_DGL = b"\x3f\xa1\xb4\x46\xf0\x4f\x2e\xdd"
"""How files of `dgl.save_graphs` begin."""

_FROM_DGL = (
    "g = dgl.load_graphs(path)[0][0]; numpy.savez('graph.npz', edge_index=numpy.stack([e.numpy() for e in g.edges()]), "
    "x=g.ndata['feat'].numpy(), y=g.ndata['label'].numpy())"
)

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"<!doctype", "an HTML page; the download gave a web page instead of the file"),
    (b"<html", "an HTML page; the download gave a web page instead of the file"),
    (b"\x89hdf", "an HDF5 file (also MATLAB 7.3); read it with h5py and save the arrays with numpy.savez"),
    (
        b"matlab",
        "a MATLAB file; damaged, or not one of LINKX; read it with scipy.io.loadmat and save the arrays by numpy.savez",
    ),
    (b"\x93numpy", "a single .npy array; save all arrays together with numpy.savez"),
    (b"pk\x03\x04", "a zip archive; it is damaged, or its members are not arrays (a file of torch.save looks the same)"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"bzh", "a bzip2 file; unpack it first"),
    (b"\xfd7zxz", "an xz file; unpack it first"),
    (_DGL, f"a graph of DGL; save it as .npz: {_FROM_DGL}"),
    (b"par1", "a Parquet file without the ending .parquet; rename it"),
)


def describe_file(path: Path) -> str:
    """Return a sentence: what the file most likely is, by its first bytes, and which formats can be read."""
    return f"it looks like {_likely_kind(path)}. Readable are {FORMATS}."


def _likely_kind(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except OSError as error:
        return f"a file that cannot be opened ({error.strerror})"
    if not head:
        return "an empty file"
    plain = head.lstrip().lower()
    for signature, kind in _SIGNATURES:
        if plain.startswith(signature) or head.startswith(signature):
            return kind
    if head[0] == 0x80 and len(head) > 1 and 2 <= head[1] <= 5:
        return (
            "a pickle, which is never unpickled; save the arrays with numpy.savez, or a graph of networkx with "
            "networkx.write_graphml(g, 'graph.graphml')"
        )
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "a text file; a table of nodes is named nodes.csv, a list of edges graph.edges"
    return "a file of an unknown kind"
