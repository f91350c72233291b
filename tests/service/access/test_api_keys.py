import hmac
from pathlib import Path

import pytest

from rm_core.errors import ConfigurationError
from service.access.api_keys import ApiKeys
from service.access.keys_file import ApiKey
from service.settings import Settings


def keys(*values: bytes) -> ApiKeys:
    return ApiKeys([ApiKey.of(value) for value in values])


@pytest.mark.parametrize(
    "given", ["", "kez", "KEY", "key ", "k", "ſecret", "key" * 500, "ke\u0301y", "\x00", "ｋｅｙ"]
)
def test_only_the_key_itself_is_accepted(given):
    accepted = keys(b"other", b"key")

    assert accepted.find(b"key") == ApiKey.of(b"key")
    assert accepted.find(given.encode()) is None


@pytest.mark.parametrize("given", [b"first", b"second", b"third", b"none of them"])
def test_every_key_is_compared_whichever_was_given(given, monkeypatch):
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or compare(a, b))

    found = keys(b"first", b"second", b"third").find(given)

    assert len(compared) == 3
    assert (found is not None) == (given != b"none of them")


def test_keys_come_from_the_setting_and_the_file(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("one\n\n  two scopes=score \n")

    accepted = ApiKeys.of(Settings.load(api_keys=("zero",), api_keys_file=file))

    assert accepted.are_required
    assert accepted.num_keys == 3
    assert accepted.find(b"zero") == ApiKey.of(b"zero")
    assert accepted.find(b"two") == ApiKey.of(b"two", frozenset({"score"}))


@pytest.mark.parametrize("text", [None, "\n \n"])
def test_a_key_file_without_keys_never_opens_the_service(tmp_path: Path, text):
    file = tmp_path / "keys"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigurationError):
        ApiKeys.of(Settings.load(api_keys_file=file))


def test_an_empty_key_of_the_setting_is_refused():
    with pytest.raises(ConfigurationError, match="empty"):
        ApiKeys.of(Settings.load(api_keys=(" ",)))


def test_a_key_of_the_setting_keeps_all_scopes_only_if_the_file_says_nothing_else(tmp_path: Path):
    (tmp_path / "keys").write_text("same scopes=score\n")

    with pytest.raises(ConfigurationError, match="remove it from there"):
        ApiKeys.of(Settings.load(api_keys=("same",), api_keys_file=tmp_path / "keys"))


def replace(file: Path, text: str) -> None:
    """As an editor or Kubernetes does it: another file under the same name."""
    (file.parent / "new").write_text(text)
    (file.parent / "new").replace(file)


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("old\n")
    accepted = ApiKeys(file=file)

    assert accepted.are_required
    assert not accepted.read_if_changed()
    replace(file, "new\n")
    assert accepted.read_if_changed()
    assert not accepted.read_if_changed()
    assert accepted.find(b"new")
    assert accepted.find(b"old") is None


@pytest.mark.parametrize("text", ["", "old and more\n"])
def test_a_broken_file_leaves_the_keys_as_they_were(tmp_path: Path, text):
    file = tmp_path / "keys"
    file.write_text("old\n")
    accepted = ApiKeys(file=file)

    replace(file, text)
    with pytest.raises(ConfigurationError):
        accepted.read_if_changed()

    assert accepted.find(b"old")
    assert not accepted.read_if_changed()  # said once for each change of the file


def test_a_file_that_went_away_leaves_the_keys_as_they_were(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("old\n")
    accepted = ApiKeys(file=file)

    file.unlink()
    with pytest.raises(ConfigurationError):
        accepted.read_if_changed()

    assert accepted.find(b"old")


def test_callers_that_were_ever_several_stay_apart(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("old\n")
    accepted = ApiKeys(file=file)
    assert not accepted.are_several

    replace(file, "new\n")
    accepted.read_if_changed()

    assert accepted.num_keys == 1
    assert accepted.are_several
