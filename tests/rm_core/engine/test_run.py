"""A trunk as it is run: what torch and models raise becomes an error of ours, by name."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from rm_core.engine.run import RunTrunk
from rm_core.errors import EngineError, OutOfMemory, RewardError
from rm_core.types import Encoded


class Raising:
    """A forward that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def rewards(self, _: Sequence[Encoded]) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (torch.OutOfMemoryError("CUDA"), OutOfMemory, "2 texts do not fit the device together"),
        (RuntimeError("not enough memory: 9"), OutOfMemory, "2 texts do not fit in memory"),
        (RuntimeError("std::bad_alloc"), OutOfMemory, "2 texts do not fit in memory"),
        (RuntimeError("bad shape"), EngineError, "the safety model's forward failed: bad shape"),
        (IndexError("out of range"), EngineError, r"failed: IndexError \(out of range\)"),
        (AssertionError(), EngineError, "failed: AssertionError"),
    ],
)
def test_what_a_forward_raises_is_told_by_name(
    error: Exception, kind: type[RewardError], words: str
) -> None:
    trunk = RunTrunk(("safety",), Raising(error))  # type: ignore[arg-type]

    with pytest.raises(kind, match=words) as raised:
        trunk.rewards([Encoded((1,), 0), Encoded((2,), 0)])

    assert raised.value.__cause__ is error
    assert type(raised.value) is kind


def test_what_the_allocator_raises_where_it_has_no_memory_is_told_as_such() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**58)

    trunk = RunTrunk(("safety",), Raising(raised.value))  # type: ignore[arg-type]
    with pytest.raises(OutOfMemory):
        trunk.rewards([Encoded((1,), 0)])
