"""No name leads out of the root: not upwards, not by links, not to the hub."""

import json
import random
import sys
from pathlib import Path

import pytest

from service.swap.errors import SwapRefused
from service.swap.places import source_below


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    for name in ("good", "deep/er", "adapter"):
        (root / name).mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    (root / "self").symlink_to(root)
    (root / "inside").symlink_to(root / "good")
    (root / "file").write_text("x")
    return root


def refused(root: Path | None, name: str) -> str:
    with pytest.raises(SwapRefused) as caught:
        source_below(root, name)
    return caught.value.code


@pytest.mark.parametrize(
    ("name", "found", "label"),
    [
        ("good", "good", None),
        ("deep/er", "deep/er", None),
        ("inside", "good", None),
        ("good#verbosity", "good", "verbosity"),
    ],
)
def test_a_directory_below_the_root_is_found(
    root: Path, name: str, found: str, label: str | None
) -> None:
    source = source_below(root, name)

    assert (source.name, source.label) == (str((root / found).resolve()), label)


@pytest.mark.parametrize("name", ["out", "loop", "self", "file", "absent", "good/out"])
def test_what_is_no_directory_below_it_is_not_found(root: Path, name: str) -> None:
    assert refused(root, name) == "checkpoint_not_found"


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "good/../../secret",
        "/etc",
        "https://example.org/x",
        "hf://x/y",
        "a\\b",
        "~root",
        "%2e%2e",
        "good/",
        "",
        ".",
        ".hidden",
        "a\0b",
        "x" * 200,
        "good\n",
        "\ud800",
        "#label",
    ],
)
def test_a_name_that_cannot_be_one_is_refused_by_its_form(root: Path, name: str) -> None:
    assert refused(root, name) == "invalid_model_name"


def test_nothing_outside_the_root_is_opened_whatever_is_asked_for(root: Path) -> None:
    chance, opened = random.Random(7), list[str]()
    pieces = ["..", ".", "/", "out", "good", "\\", "%2f", "\0", "~", "secret", "#", ":", " ", "é"]
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)
    for _ in range(300):
        name = "".join(chance.choice(pieces) for _ in range(chance.randint(1, 6)))
        try:
            source = source_below(root, name)
        except SwapRefused:
            continue
        assert Path(source.name).is_relative_to(root.resolve()), name
    watching = False
    assert [path for path in opened if "secret" in path or "/etc" in path] == []


@pytest.mark.parametrize("base", ["org/model", "/etc", "../secret", 7])
def test_an_adapter_does_not_bring_its_base_from_elsewhere(root: Path, base: object) -> None:
    config = {"base_model_name_or_path": base}
    (root / "adapter" / "adapter_config.json").write_text(json.dumps(config))

    assert refused(root, "adapter") in {"checkpoint_not_found", "invalid_checkpoint"}


def test_an_adapters_base_may_lie_below_the_root_or_serve_already(root: Path) -> None:
    config = root / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": str(root / "good")}))
    assert source_below(root, "adapter").name == str((root / "adapter").resolve())

    config.write_text(json.dumps({"base_model_name_or_path": "org/model"}))
    assert source_below(root, "adapter", bases={"org/model"}).label is None


def test_without_a_root_nothing_is_loaded() -> None:
    assert refused(None, "good") == "model_root_not_set"
