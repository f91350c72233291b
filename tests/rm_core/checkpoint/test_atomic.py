"""Directories are whole, old or absent, wherever the disk fills up or the process dies."""

from contextlib import suppress
from pathlib import Path

import pytest

from rm_core.checkpoint.atomic import recover_directory, replace_directory, written_whole
from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import read_manifest, verify_files
from rm_core.errors import NotSaved, RewardError
from tests.training.full_disk import disk_full_after, no_file_larger_than
from tests.training.made_up import published
from training.modeling.reward_model import TrainableModel
from training.publishing.publish import check_output


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_is_written_takes_its_place_when_all_of_it_is_there(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    with written_whole(place, advice="") as directory:
        (directory / "a").write_text("new")
        assert not place.exists()

    assert content(place) == {"a": b"new"}
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_a_failure_keeps_the_old_directory_and_takes_no_room(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "a").write_text("old")

    def write() -> None:
        with written_whole(place, advice="make room") as directory:
            (directory / "a").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(NotSaved, match=r"No space.*make room"):
        write()

    assert content(place) == {"a": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_bug_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(KeyError), written_whole(tmp_path / "place", advice=""):
        raise KeyError("bug")


def test_a_kill_between_the_renames_is_mended(tmp_path: Path) -> None:
    place, aside = tmp_path / "place", tmp_path / ".place.replaced"
    aside.mkdir()
    (aside / "a").write_text("old")

    recover_directory(place)

    assert content(place) == {"a": b"old"}
    assert not aside.exists()
    recover_directory(place)
    assert content(place) == {"a": b"old"}


def test_a_leftover_of_a_finished_replacement_never_comes_back(tmp_path: Path) -> None:
    place, aside, new = (tmp_path / name for name in ("place", ".place.replaced", "new"))
    for directory, text in ((place, "current"), (aside, "older"), (new, "new")):
        directory.mkdir()
        (directory / "a").write_text(text)

    recover_directory(place)
    assert content(place) == {"a": b"current"}
    replace_directory(new, place)

    assert content(place) == {"a": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def publish_to(output: Path, model: TrainableModel, gap: float) -> None:
    published(model, output, gaps=(gap, 1.0))


def is_whole(output: Path) -> bool:
    manifest = read_manifest(output)
    assert manifest is not None
    verify_files(output, manifest)
    load_reward_model(str(output), "safety")
    return True


@pytest.mark.parametrize("stands", [False, True], ids=["first", "replacing"])
def test_a_disk_that_fills_up_at_any_write_leaves_the_old_checkpoint_or_none(
    start: TrainableModel, tmp_path: Path, stands: bool
) -> None:
    output = tmp_path / "out"
    if stands:
        publish_to(output, start, gap=2.0)
    before = content(output) if stands else {}

    for changes in range(100):
        with disk_full_after(changes, below=tmp_path) as disk, suppress(NotSaved):
            publish_to(output, start, gap=5.0)
        if not disk.refused:
            break
        check_output(output)  # as the next training does
        assert (content(output) if output.exists() else {}) == before
        assert {path.name for path in tmp_path.iterdir()} <= {"out"}

    assert changes >= 6  # model, tokenizer, reports, card, manifest, rename: each has failed
    assert is_whole(output)
    assert content(output) != before


@pytest.mark.parametrize("size", [200, 1000, 4000, 20_000])
def test_writes_that_stop_in_the_middle_of_a_file_leave_the_old_checkpoint(
    start: TrainableModel, tmp_path: Path, size: int
) -> None:
    output = tmp_path / "out"
    publish_to(output, start, gap=2.0)
    before = content(output)

    with pytest.raises(RewardError, match="could not be written"), no_file_larger_than(size):
        publish_to(output, start, gap=5.0)

    assert content(output) == before
    assert is_whole(output)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
