"""Our own code computes where it can and may; else torch does, and the engine says why."""

from pathlib import Path

import pytest
import torch

from rm_core.engine import EngineOptions, load_engine
from rm_core.engine.native import chosen_native
from rm_core.engine.native.choose import native_library
from rm_core.engine.native.self_check import check
from rm_core.errors import ConfigurationError
from tests.models import make_model, save_checkpoint
from tests.rm_core.engine.native.compiled import library, needs_compiler


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    native_library.cache_clear()
    monkeypatch.setenv("PATH", "")
    yield
    native_library.cache_clear()


@needs_compiler
def test_float32_on_the_cpu_is_native_unless_torch_is_asked_for() -> None:
    model = make_model("llama")

    assert chosen_native("auto", model) == (library(), "native")
    assert chosen_native("native", model) == (library(), "native")
    assert chosen_native("torch", model) == (None, "torch, as asked for")
    in_half = chosen_native("auto", model.to(torch.bfloat16))
    assert in_half == (None, "torch, as the trunk is not float32 on the CPU")


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_torch_computes_the_same_rewards_and_the_engine_says_why(
    tmp_path: Path,
) -> None:
    save_checkpoint(tmp_path, "llama")

    described = load_engine({"safety": str(tmp_path)}).describe()["safety"]

    assert described["attention"].startswith("torch, as no C++ compiler is installed")
    with pytest.raises(ConfigurationError, match=r"can't be native: no C\+\+ .*; install"):
        load_engine({"safety": str(tmp_path)}, EngineOptions(attention="native"))


@needs_compiler
@pytest.mark.parametrize("attention", ["native", "torch"])
def test_the_engine_tells_what_computes_attention(attention: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "llama")

    engine = load_engine({"safety": str(tmp_path)}, EngineOptions(attention=attention))

    assert engine.describe()["safety"]["attention"].partition(",")[0] == attention


@needs_compiler
def test_where_nothing_can_be_kept_the_library_is_compiled_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native_library.cache_clear()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))

    try:
        check(library())
    finally:
        native_library.cache_clear()
