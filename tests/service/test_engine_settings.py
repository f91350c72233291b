"""What the settings ask of the engine."""

from dataclasses import asdict, fields, replace
from typing import Any

from rm_core.engine.options import EngineOptions
from service.setting_sources import products_file
from service.settings import Settings

OTHERS: dict[str, Any] = {
    "dtype": "bfloat16",
    "deterministic": True,
    "compile_layers": True,
    "products": "onednn",
    "attention": "torch",
    "reward_cache_bytes": 12_345,
    "prefix_cache_bytes": 54_321,
}
"""A value of each option that is not its default."""


def test_each_option_of_the_engine_has_a_setting_of_its_name_and_of_its_default():
    # Where timings are kept follows from the environment alone.
    where = {"products_file": products_file()}
    assert OTHERS.keys() | where.keys() == {option.name for option in fields(EngineOptions)}
    assert Settings.load().engine_options() == replace(EngineOptions(), **where)

    for name, value in OTHERS.items():
        asked = asdict(Settings.load(**{name: value}).engine_options())
        assert asked == {**asdict(EngineOptions()), **where, name: value}
