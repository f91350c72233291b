"""Values of the wrong kind are refused by the name of their key."""

from collections.abc import Callable
from typing import Any

import pytest

from training.data.formats.fields import flag_of, list_of, number_of, object_of, prompt_of, whole_of
from training.errors import MalformedRow


@pytest.mark.parametrize("value", [None, "1", True, float("nan"), float("inf"), [1]])
def test_only_finite_numbers_are_numbers(value: Any) -> None:
    with pytest.raises(MalformedRow, match="`x`"):
        number_of({"x": value}, "x")


def test_whole_numbers_may_be_written_as_fractions() -> None:
    assert whole_of({"x": 2.0}, "x", range(3)) == 2
    with pytest.raises(MalformedRow, match="0, 1, 2"):
        whole_of({"x": 1.5}, "x", range(3))


@pytest.mark.parametrize(("value", "flag"), [(True, True), (0, False), (1.0, True)])
def test_flags_may_be_written_as_numbers(value: Any, flag: bool) -> None:
    assert flag_of({"x": value}, "x") is flag


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (flag_of, 2),
        (flag_of, "true"),
        (list_of, "a"),
        (lambda row, key: object_of(row[key], key), []),
        (prompt_of, 3),
    ],
)
def test_other_kinds_are_refused_without_their_value(
    read: Callable[[dict[str, Any], str], Any], value: Any
) -> None:
    with pytest.raises(MalformedRow, match="`x`"):
        read({"x": value}, "x")
