"""Links: nothing of a hidden link is left in the graph, and pairs without a link are never links."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from revgnn import Graph
from revgnn.data import NodeDataset, NonLinks, Pairs, Split, TableOptions, load, make_links, save_npz

LINKS = TableOptions(task="links")


def keys(ends: torch.Tensor, n: int) -> np.ndarray:
    """Return a number for each unordered pair."""
    low, high = ends.min(dim=0).values, ends.max(dim=0).values
    return (low * n + high).numpy()


def edges_of(graph: Graph) -> torch.Tensor:
    return torch.stack([graph.src.long(), graph.dst.long()])


def graph_of(edges: torch.Tensor, n: int, *, edge_attr: torch.Tensor | None = None) -> NodeDataset:
    return NodeDataset(
        name="g",
        graph=Graph.from_edge_index(edges, n, edge_attr),
        x=torch.randn(n, 3),
        y=torch.full((n,), -1),
        task="binary",
        num_outputs=1,
        metric="rocauc",
        splits=(Split(*(torch.zeros(0, dtype=torch.int64) for _ in range(3))),),
        trainable=False,
    )


def random_edges(n: int, count: int, *, undirected: bool) -> torch.Tensor:
    edges = torch.randint(0, n, (2, count))
    return torch.cat([edges, edges.flip(0)], dim=1) if undirected else edges


@pytest.mark.parametrize("undirected", [True, False], ids=["undirected", "directed"])
@pytest.mark.parametrize("split", [0, 7])
def test_nothing_of_a_hidden_link_is_left(undirected: bool, split: int) -> None:
    """Doubled edges and self-loops included. Both directions of a pair are in one part, in a directed graph too."""
    n = 40
    data = graph_of(random_edges(n, 150, undirected=undirected), n)
    links = make_links(data, split)
    assert links.pairs is not None
    parts = [getattr(links.split, part) for part in ("train", "valid", "test")]
    true = [keys(links.pairs.ends[:, part[links.y[part] == 1]], n) for part in parts]
    left = keys(edges_of(links.graph), n)
    assert not np.isin(true[1], left).any()
    assert not np.isin(true[2], left).any()
    assert np.isin(true[0], left).all()
    assert not np.intersect1d(true[0], true[1]).size
    assert not np.intersect1d(np.concatenate(true[:2]), true[2]).size
    every = edges_of(data.graph)
    every = every[:, every[0] != every[1]]
    assert set(keys(every, n)) == {int(k) for part in true for k in part}
    assert int((links.graph.src == links.graph.dst).sum()) == int((data.graph.src == data.graph.dst).sum())
    shares = np.array([len(np.unique(part)) for part in true]) / len(np.unique(keys(every, n)))
    np.testing.assert_allclose(shares, (0.8, 0.1, 0.1), atol=0.02)
    assert links.pairs.directed == (not undirected)


def test_pairs_without_a_link_are_as_many_and_none_is_a_link() -> None:
    n = 40
    links = make_links(graph_of(random_edges(n, 150, undirected=True), n))
    assert links.pairs is not None
    known = keys(links.pairs.ends[:, links.y == 1], n)
    others = links.pairs.ends[:, links.y == 0]
    assert not np.isin(keys(others, n), known).any()
    assert len(np.unique(keys(others, n))) == others.shape[1] == len(known)
    for part in ("train", "valid", "test"):
        y = links.y[getattr(links.split, part)]
        assert int((y == 1).sum()) == int((y == 0).sum()) > 0


def test_another_seed_gives_another_split_and_the_same_seed_the_same() -> None:
    data = graph_of(random_edges(40, 150, undirected=True), 40)
    a, b, c = (make_links(data, split) for split in (0, 0, 1))
    assert a.pairs is not None
    assert b.pairs is not None
    assert c.pairs is not None
    assert torch.equal(a.pairs.ends, b.pairs.ends)
    assert torch.equal(a.split.test, b.split.test)
    assert not torch.equal(a.split.test, c.split.test)


def test_edge_features_stay_with_their_edges() -> None:
    n, edges = 40, random_edges(40, 150, undirected=False)
    links = make_links(graph_of(edges, n, edge_attr=(edges[0] * 100 + edges[1]).float().unsqueeze(1)))
    assert links.graph.edge_attr is not None
    ends = edges_of(links.graph)
    assert torch.equal(links.graph.edge_attr[:, 0], (ends[0] * 100 + ends[1]).float())


def test_features_made_from_the_graph_do_not_know_hidden_links(tmp_path: Path) -> None:
    """Without features of their own, nodes have their degree: that of the graph that is left."""
    edges = np.random.default_rng(0).integers(0, 50, (2, 200))
    np.savez(tmp_path / "bare.npz", edges=edges.T)
    links = load(str(tmp_path / "bare.npz"), tables=LINKS)
    assert links.x is not None
    torch.testing.assert_close(links.x[:, 0], links.graph.in_degree.float().log1p())
    with pytest.raises(ValueError, match="links are split when a graph is loaded"):
        save_npz(links, tmp_path / "again.npz")


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("share", [0.3, 0.9, 1.0], ids=str)
def test_what_is_drawn_is_new_and_never_a_link(directed: bool, share: float) -> None:
    """Also if nearly all pairs, or all, are wanted."""
    n = 15
    links = torch.randint(0, n, (2, 40))
    links = links[:, links[0] != links[1]]
    source = NonLinks(n, links, directed)
    count = int(share * source.available)
    drawn = source.draw(count, np.random.default_rng(0))
    assert bool((drawn[0] != drawn[1]).all())
    ours = drawn[0] * n + drawn[1] if directed else torch.from_numpy(keys(drawn, n))
    known = links[0] * n + links[1] if directed else torch.from_numpy(keys(links, n))
    assert len(ours.unique()) == count
    assert not bool(torch.isin(ours, known).any())
    assert torch.equal(drawn, source.draw(count, np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"pairs without a link are wanted, and the graph has only"):
        source.draw(source.available + 1, np.random.default_rng(0))


def test_every_pair_is_drawn_equally_often() -> None:
    source = NonLinks(6, torch.tensor([[0, 1, 2], [1, 2, 3]]), directed=False)
    rng = np.random.default_rng(0)
    drawn = torch.cat([source.draw(3, rng) for _ in range(1000)], dim=1)
    counts = np.unique(keys(drawn, 6), return_counts=True)[1]
    assert len(counts) == 12
    assert 0.8 < counts.min() / 250 < counts.max() / 250 < 1.2


@pytest.mark.parametrize(
    ("edges", "n", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), 3, "g has 0 pairs of different nodes with an edge; links need 10 or more"),
        (torch.combinations(torch.arange(6)).T, 6, "pairs without a link are wanted"),
    ],
    ids=["loops", "complete"],
)
def test_graphs_that_have_too_little(edges: torch.Tensor, n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_links(graph_of(torch.cat([edges, edges.flip(0)], dim=1), n))


def test_pairs_that_are_no_nodes() -> None:
    with pytest.raises(ValueError, match=r"pair 1 is \(0, 5\); with 5 nodes both lie in \[0, 5\)"):
        Pairs(torch.tensor([[0, 0], [1, 5]])).check(5, "g")


def test_many_graphs_have_no_links(tmp_path: Path) -> None:
    from tests.data.many import write_tu

    with pytest.raises(ValueError, match="a links task is for one graph"):
        load(str(write_tu(tmp_path / "TOY")), tables=LINKS)
