from pathlib import Path

import pytest

from rm_core.errors import ConfigurationError
from service.setting_sources import products_file
from service.settings import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("REWARDD_"):
            monkeypatch.delenv(name)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch):
    file = tmp_path / "rewardd.toml"
    file.write_text("port = 1\nmax_items = 11\nhost = '0.0.0.0'\n")
    monkeypatch.setenv("REWARDD_PORT", "2")
    monkeypatch.setenv("REWARDD_HOST", "::1")
    monkeypatch.setenv("REWARDD_CONFIG", str(file))

    settings = Settings.load(port=3, host=None)

    assert (settings.port, settings.host, settings.max_items) == (3, "::1", 11)
    assert settings.max_pack_items == 256


@pytest.mark.parametrize("name", ["REWARDD_PROT", "rewardd_prot", "REWARDD_API_KEY"])
def test_an_unknown_variable_is_refused_with_a_suggestion(name, monkeypatch):
    monkeypatch.setenv(name, "secret-value")

    with pytest.raises(ConfigurationError, match="did you mean") as refused:
        Settings.load()
    assert "secret-value" not in str(refused.value)


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path):
    file = tmp_path / "rewardd.toml"
    file.write_text("max_item = 3\n")

    with pytest.raises(ConfigurationError, match="max_items"):
        Settings.load(file)


@pytest.mark.parametrize("text", [None, "port = ", "port = 'x"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, text):
    file = tmp_path / "rewardd.toml"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigurationError, match="can't be read"):
        Settings.load(file)


@pytest.mark.parametrize(
    "values",
    [
        {"port": 65536},
        {"max_items": 0},
        {"max_items": 17_000},
        {"max_request_tokens": 9_000_000},
        {"tau": 1.0},
        {"overload_status": 500},
        {"device": "gpu"},
        {"max_wait_ms": float("nan")},
        {"drain_timeout_seconds": float("inf")},
        {"max_queue_items": "many"},
    ],
)
def test_values_out_of_bounds_are_refused(values):
    with pytest.raises(ConfigurationError):
        Settings.load(**values)


def test_a_device_that_is_none_is_told_those_that_are():
    with pytest.raises(ConfigurationError, match="device: choose auto, cpu, cuda or cuda:N"):
        Settings.load(device="gpu")


def test_every_number_is_bounded_and_every_field_says_why():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if field.annotation in {int, float, int | None, float | None}:
            bounds = {type(constraint).__name__ for constraint in field.metadata}
            assert bounds & {"Ge", "Gt"}, name
            assert bounds & {"Le", "Lt"}, name


def test_no_two_concepts_have_a_setting_of_one_name():
    """Else one of them silently takes the other's default, and both are set at once."""
    own = [vars(part).get("__annotations__", {}) for part in Settings.__mro__]
    names = [name for part in own for name in part if name in Settings.model_fields]

    assert sorted(names) == sorted(Settings.model_fields)


def test_settings_are_frozen_and_keep_keys_to_themselves():
    settings = Settings.load(api_keys=("hush",))

    assert "hush" not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 3


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/rewardd/products.json"),
        ({"HOME": "/home/me"}, "/home/me/.cache/rewardd/products.json"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": ""}, "/home/me/.cache/rewardd/products.json"),
        ({}, None),
        ({"XDG_CACHE_HOME": "relative"}, None),
        # What a library does under such a variable is nothing to remember.
        ({"HOME": "/home/me", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}, None),
        ({"HOME": "/home/me", "ONEDNN_MAX_CPU_ISA": "AVX2"}, None),
    ],
)
def test_timed_products_are_kept_in_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert products_file() == (None if expected is None else Path(expected))
