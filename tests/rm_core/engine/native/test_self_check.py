"""A library that computes something else is found out before it is used."""

import pytest
import torch

from rm_core.engine.native.compiler import CannotCompile
from rm_core.engine.native.library import NativeLibrary
from rm_core.engine.native.self_check import check
from tests.rm_core.engine.native.compiled import library, needs_compiler


@needs_compiler
@pytest.mark.parametrize("function", ["attention", "rms_norm", "rotate", "gate"])
def test_a_library_with_a_wrong_result_is_not_used(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, found = getattr(NativeLibrary, function), library()

    def wrong(self: NativeLibrary, first: torch.Tensor, *args: object, **named: object) -> object:
        result = right(self, first, *args, **named)
        (first if result is None else result).view(-1)[-1] += 1e-3
        return result

    monkeypatch.setattr(NativeLibrary, function, wrong)

    with pytest.raises(CannotCompile, match="is off by"):
        check(found)
