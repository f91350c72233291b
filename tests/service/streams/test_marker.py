"""The evidence that there was a state, and how far it had come."""

from pathlib import Path

import pytest

from service.streams.faults import StateLost
from service.streams.marker import Marked, Marker, marker_of

NAME = "0123456789abcdef" * 2


def test_it_says_which_state_it_belongs_to_and_how_many_commits_that_holds(tmp_path: Path) -> None:
    path = marker_of(tmp_path / "streams.sqlite3")
    assert Marked.read(path) is None

    marker = Marker(path, Marked(NAME, 3))
    assert Marked.read(path) == Marked(NAME, 3)
    marker.advance(4)
    assert Marked.read(path) == Marked(NAME, 4)
    marker.close()


def test_every_flipped_bit_of_it_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    whole = Marked(NAME, 12).to_bytes()

    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        with pytest.raises(StateLost, match="understood"):
            Marked.read(path)


def test_a_full_disk_leaves_it_saying_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = Marker(tmp_path / "marker", Marked(NAME, 3))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.pwrite", full)
        marker.advance(4)

    assert Marked.read(tmp_path / "marker") == Marked(NAME, 3)
    marker.close()
