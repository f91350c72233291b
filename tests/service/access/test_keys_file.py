import os
from pathlib import Path

import pytest

from rm_core.errors import ConfigurationError
from service.access.keys_file import MAX_FILE_BYTES, ApiKey, read_keys
from service.access.scopes import ALL_SCOPES


def keys_of(directory: Path, content: bytes) -> tuple[ApiKey, ...]:
    file = directory / "keys"
    file.write_bytes(content)
    return read_keys(file)


def test_a_line_is_a_key_with_its_scopes_and_its_name(tmp_path):
    content = b"# trainers\n\none\n  two scopes=score\r\nthree name=ops scopes=admin,metrics\n"

    assert keys_of(tmp_path, content) == (
        ApiKey.of(b"one", ALL_SCOPES),
        ApiKey.of(b"two", frozenset({"score"})),
        ApiKey.of(b"three", frozenset({"admin", "metrics"}), "ops"),
    )


def test_a_key_is_kept_byte_by_byte(tmp_path):
    # An editor's mark of the encoding is no part of it; what Unicode takes for a line's end is.
    odd = "ke\u2028y\x85ü".encode()

    assert keys_of(tmp_path, b"\xef\xbb\xbffirst\n" + odd) == (ApiKey.of(b"first"), ApiKey.of(odd))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no key"),
        (b"# none\n \n", "holds no key"),
        (b"ok\nhush scopes=write", "line 2: a scope is not known"),
        (b"hush scopes=score,write", "line 1: a scope is not known"),
        (b"hush scopes=", "line 1: a scope is not known"),
        (b"hush name=a/b", "line 1: a name has"),
        (b"hush name=a name=b", "line 1: an option stands there twice"),
        (b"hush other", "line 1: what follows the key is no option"),
        (b"hush colour=red", "line 1: what follows the key is no option"),
        (b"hu\xffsh", "line 1: this is no UTF-8"),
        (b"hush scopes=\xff", "line 1: this is no UTF-8"),
        (b"hush scopes=score\nhush", "line 2: this key stands further up"),
        (b"k" * (MAX_FILE_BYTES + 1), "is larger than"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_line_and_never_shown(tmp_path, content, said):
    with pytest.raises(ConfigurationError, match=said) as refusal:
        keys_of(tmp_path, content)

    assert "hush" not in str(refusal.value)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "keys")

    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_keys(tmp_path / "keys")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        read_keys(tmp_path / "keys")


def test_a_key_never_shows_what_it_is():
    assert ApiKey.of(b"hush").digest.hex() not in repr(ApiKey.of(b"hush"))
