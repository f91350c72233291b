"""Further models in the settings: what can be written, and what can't be a model's name."""

import re
from pathlib import Path
from typing import Any

import pytest

from rm_core.checkpoint.source import ModelSource
from rm_core.errors import ConfigurationError
from service.named_models import named_sources
from service.settings import Settings


@pytest.mark.parametrize(
    "written",
    [
        "brief=models/brief, kind=models/hs#kindness",
        ["brief=models/brief", "kind=models/hs#kindness"],
        '{"brief": "models/brief", "kind": {"path": "models/hs", "label": "kindness"}}',
    ],
)
def test_models_are_named_in_a_text_in_several_or_in_a_table(
    written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"brief": ModelSource("models/brief"), "kind": ModelSource("models/hs", "kindness")}

    assert Settings.load(models=written).sources() == wanted
    if isinstance(written, str):
        monkeypatch.setenv("REWARDD_MODELS", written)
        assert Settings.load().sources() == wanted
    else:
        assert named_sources(written) == wanted


def test_a_table_in_the_file_says_layer_and_calibration_too(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        'safety_model = "models/safety"\nsafety_layer = 12\n[models]\nbrief = "models/brief"\n'
        '[models.kind]\npath = "models/hs#2"\nlayer = 20\ntemperature = 2.0\nbias = -1.0\n'
    )

    assert Settings.load(file).sources() == {
        "safety": ModelSource("models/safety", layer=12),
        "brief": ModelSource("models/brief"),
        "kind": ModelSource("models/hs", "2", 20, 2.0, -1.0),
    }


@pytest.mark.parametrize("where", ["file", "environment"])
def test_models_of_the_command_line_stand_beside_those_of_elsewhere(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("")
    if where == "file":
        file.write_text('[models]\nbrief = "models/brief"\nkind = "models/old"\n')
    else:
        monkeypatch.setenv("rewardd_models", "brief=models/brief,kind=models/old")

    assert Settings.load(file, models=["kind=models/new", "warm=models/warm"]).sources() == {
        "brief": ModelSource("models/brief"),
        "kind": ModelSource("models/new"),
        "warm": ModelSource("models/warm"),
    }


def test_models_of_elsewhere_that_cannot_be_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDD_MODELS", "brief")

    with pytest.raises(ConfigurationError, match="NAME=DIRECTORY"):
        Settings.load(models=["kind=models/new"])


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("Brief=x", "can't name a model"),
        ("safety=x", "means something else"),
        ("raw_brief=x", "means something else"),
        ("whitened=x", "means something else"),
        ("brief", "NAME=DIRECTORY"),
        ("a=x,a=y", "names two models"),
        ('{"a": {"path": "x", "lable": "y"}}', "models.a.lable"),
        ('{"a": {"path": "x", "layer": 0}}', "models.a.layer"),
    ],
)
def test_what_can_be_no_model_is_told(written: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        Settings.load(models=written)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"safety_layer": 3}, "no safety_model is named"),
        ({"models": {"a": {"path": "x#1", "label": "2"}}}, "names a label, and so does label"),
    ],
)
def test_what_does_not_belong_together_is_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Settings.load(**settings).sources()


def test_dialects_may_return_a_further_models_reward_and_no_strangers() -> None:
    assert Settings.load(models="brief=x", dialect_reward="raw_brief").dialect_reward == "raw_brief"
    with pytest.raises(ConfigurationError, match="dialect_reward must be one of selected, "):
        Settings.load(dialect_reward="brief")
