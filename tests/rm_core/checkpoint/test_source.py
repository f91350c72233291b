"""What of a checkpoint is read: how it is written, and how what is read is told apart."""

from pathlib import Path

import pytest

from rm_core.checkpoint.source import ModelSource, digest_of_part
from rm_core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("written", "name", "label"),
    [
        ("models/rm", "models/rm", None),
        ("org/rm#verbosity", "org/rm", "verbosity"),
        ("/data/rm#3", "/data/rm", "3"),
        ("/data/#scratch/rm", "/data/#scratch/rm", None),
        ("/data/#scratch/rm#a b", "/data/#scratch/rm", "a b"),
        ("rm#", "rm#", None),
    ],
)
def test_a_label_stands_behind_the_name(written: str, name: str, label: str | None) -> None:
    source = ModelSource.of(written)

    assert (source.name, source.label) == (name, label)
    assert source.told == written
    assert ModelSource.of(source) is source


def test_a_directory_with_the_mark_in_its_name_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "rm#2").mkdir()

    assert ModelSource.of(f"{tmp_path}/rm#2") == ModelSource(f"{tmp_path}/rm#2")


@pytest.mark.parametrize("wrong", [{"layer": 0}, {"temperature": 0.0}, {"bias": float("nan")}])
def test_what_can_be_no_part_of_a_model_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="rm: "):
        ModelSource("rm", **wrong)  # type: ignore[arg-type]


def test_every_part_of_a_checkpoint_is_another_model() -> None:
    parts = [(None, None), (0, None), (1, None), (None, 1), (None, 11), (1, 1)]
    digests = [digest_of_part("ab", label=label, layer=layer) for label, layer in parts]

    assert digests[0] == "ab"
    assert len(set(digests)) == len(parts)
