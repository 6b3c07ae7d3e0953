"""Where the time of a step goes: every part is found, parts add up to the step, and bounds count what they should."""

from __future__ import annotations

from collections import defaultdict

import pytest
import torch

from benchmarks import checks, profile, step_parts
from revgnn.kernels.cpu import kernel as kernels


def test_every_kernel_of_a_step_has_its_row_and_bound(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("profile", "--quick") == 0
    (result,) = bench.lines("profile")
    parts = {entry["part"]: entry for entry in result["parts"]}
    ours = {name: entry for name, entry in parts.items() if name in step_parts.PARTS.values()}
    assert set(ours) == set(step_parts.PARTS.values())
    assert all(entry["bound_seconds"] > 0 and entry["binding"] for entry in ours.values())
    # 3 layers of 2 blocks, each evaluated forward and again backward; the backward pass of max has two kernels
    calls = {name: entry["calls"] for name, entry in ours.items()}
    assert calls == {name: 12 if "forward" in name or "aggregate" in name else 6 for name in calls}
    assert set(parts) - set(ours) == {name for name in parts if name.startswith("torch: ")} | {step_parts.REST}
    assert result["bound_seconds"] == pytest.approx(sum(entry["bound_seconds"] for entry in result["parts"]))
    printed = capsys.readouterr().out
    assert "| aggregate, forward " in printed
    assert "the sum of the bounds is" in printed
    assert kernels.observer is None


def test_parts_add_up_to_the_step(bench):
    assert bench("profile", "--quick", "--repeats", "1", "--operators", "2") == 0
    (result,) = bench.lines("profile")
    assert sum(entry["seconds"]["median"] for entry in result["parts"]) == pytest.approx(result["seconds"]["as it is"][0])
    names = [entry["part"] for entry in result["parts"]]
    assert len([name for name in names if name.startswith("torch: ")]) == 3
    assert names[-2:] == [profile.OTHERS, step_parts.REST]


def moved(work) -> dict[str, int]:
    usages = defaultdict(step_parts.Usage)
    with step_parts.OperatorsTimed(usages):
        work()
    return {name.removeprefix("torch: "): usage.moved for name, usage in usages.items()}


def test_bytes_of_operators():
    x, out = torch.ones(100, 4), torch.empty(100, 4)
    assert moved(lambda: x + x.t().t()) == {"add": 4800, "t": 0}
    assert moved(lambda: out.copy_(x)) == {"copy_": 3200}
    assert moved(lambda: out.zero_()) == {"zero_": 1600}
    assert moved(lambda: torch.cat([x, x])) == {"cat": 6400}
    assert moved(lambda: torch.ones(1, 4).expand(100, 4).sum(0))["sum"] == 16 + 16
    assert moved(lambda: x.t().contiguous())["clone"] == 3200
    assert moved(lambda: x.contiguous()) in ({}, {"contiguous": 0})
    assert moved(lambda: x.new_empty(7)) == {"new_empty": 0}


def test_a_kernel_that_is_not_known_is_a_part_without_a_bound():
    usages = defaultdict(step_parts.Usage)
    with step_parts.kernels_timed(usages):
        assert kernels.observer is not None
        kernels.observer("something_new", 0.5)
    rates = profile.Rates(1.0, 1.0, 1.0)
    assert usages["something_new"] == (0.5, 0, 1)
    assert profile.bounds_of("something_new", usages["something_new"], {}, 1, rates) == {}
    least = {"a": profile.Least(2, operations=3, moved=5)}
    assert profile.bounds_of("a", step_parts.Usage(), least, 7, profile.Rates(2.0, 1.0, 10.0)) == {"operations": 21.0, "bytes": 7.0}


def test_shapes_are_those_of_the_paper():
    narrow, wide = profile.parse([]), profile.parse(["--shape", "wide"])
    assert (narrow.channels, narrow.groups, narrow.depth) == (64, 2, 112)
    assert (wide.channels, wide.groups, wide.depth) == (224, 4, 28)
    with pytest.raises(SystemExit):
        profile.parse(["--channels", "30", "--groups", "4"])


def test_wrong_gradients_print_no_figures(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    right = checks.gradients

    def wrong(model, batch):
        found = right(model, batch)
        return [g * (1 + 1e-7) for g in found] if model.config.gradient is None else found

    monkeypatch.setattr(checks, "gradients", wrong)
    assert bench("profile", "--quick") == 1
    assert capsys.readouterr().out == ""
    assert not bench.folder.exists()
