"""The reference of all settings: complete, true, and the page of the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.models.config import ModelConfig
from revgnn.train.config import FREE_ON_RESUME, ConfigError, RunConfig
from revgnn.train.config.reference import all_run_settings, find_settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
SETTINGS = {setting.key: setting for setting in all_run_settings()}


def test_every_setting_of_every_family_is_there() -> None:
    written = set()
    for family in ModelConfig.FAMILIES:
        changes = {"data.name": "synthetic", "model.family": family, "distillation.alpha": 0.5}
        if family == "equilibrium":
            changes["model.solver.method"] = "anderson"
        if family == "revgat":
            changes["model.conv"] = "gat"
        written |= RunConfig().replace(changes).flat().keys()
    assert written - {"model.solver"} == SETTINGS.keys()


@pytest.mark.parametrize("key", SETTINGS)
def test_the_default_is_what_a_run_has(key: str) -> None:
    setting = SETTINGS[key]
    if not key.startswith(("data.", "distillation.")) and not setting.families:
        value = RunConfig().flat()[key]
        as_yaml = {True: "true", False: "false", None: "null"}
        assert setting.default == (as_yaml[value] if value is None or isinstance(value, bool) else str(value))


@pytest.mark.parametrize("key", SETTINGS)
def test_everything_is_said(key: str) -> None:
    setting = SETTINGS[key]
    assert setting.description
    assert "typing" not in setting.values
    assert "<class" not in setting.values
    assert setting.free == (key in FREE_ON_RESUME or key == "preset")


def test_what_a_reader_looks_up() -> None:
    assert SETTINGS["model.norm"].others == {"revgat": "batch"}
    assert SETTINGS["model.solver.rtol"].families == ("equilibrium",)
    assert SETTINGS["model.dropout"].values == "number, at least 0.0, below 1.0"
    assert SETTINGS["optim.clip_norm"].values == "number, above 0 or null"
    assert SETTINGS["data.features"].values == "raw, standard, log, rows"
    assert SETTINGS["model.conv"].default == "gen"


def test_a_section_is_all_its_settings() -> None:
    assert [s.key for s in find_settings("optim")] == [key for key in SETTINGS if key.startswith("optim.")]
    assert [s.key for s in find_settings("epochs")] == ["epochs"]


@pytest.mark.parametrize(("key", "meant"), [("depth", "model.depth"), ("model.dephts", "model.depth"), ("optim.schedul", "optim")])
def test_an_unknown_setting_names_the_nearest(key: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"no setting '{key}'.*{meant}"):
        find_settings(key)


def test_the_command() -> None:
    run = CliRunner().invoke
    assert "families reversible, revgat" in run(app, ["config", "model.groups"]).stdout
    listed = run(app, ["config"]).stdout
    assert all(key in listed for key in SETTINGS)
    as_json = json.loads(run(app, ["config", "optim", "--json"]).stdout)
    assert [s["key"] for s in as_json] == [s.key for s in find_settings("optim")]
    assert run(app, ["config", "modle"]).exit_code == 2


def test_the_page_is_made_from_it() -> None:
    page = CliRunner().invoke(app, ["config", "--markdown"]).stdout
    assert PAGE.read_text() == page, "write it again: revgnn config --markdown > docs/settings.md"
