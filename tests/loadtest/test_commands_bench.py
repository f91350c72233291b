"""`bench --device cuda` as whoever has a GPU types it, with the CPU in the device's place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from loadtest.__main__ import app
from loadtest.bench import device
from loadtest.bench.rounds import Rounds
from loadtest.errors import LoadTestError
from loadtest.settings import BenchSettings

runner = CliRunner()


@pytest.mark.parametrize("flags", ["", "--compile"], ids=["plain", "compiled"])
def test_the_benchmark_on_a_gpu_is_one_line(
    flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As on CUDA, but that the device of that name is the CPU and the compiler does nothing."""
    real = device.bench_device

    def on_the_cpu(options: BenchSettings) -> Rounds:
        assert options.device == "cuda"
        return real(replace(options, device="cpu"))

    monkeypatch.setattr(device, "bench_device", on_the_cpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    line = (
        f"bench --model toy --device cuda {flags} --rounds 1 --groups 2 --responses 2 "
        "--prompt-tokens 16 --shortest 4 --longest 24 --matmul-size 64 --check-texts 2 "
        f"--json {tmp_path}/cuda.json --markdown {tmp_path}/cuda.md"
    )

    done = runner.invoke(app, line.split(), catch_exceptions=False)

    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "cuda.json").read_text())["results"][0]["facts"]
    assert facts["our layers"] == ("compiled" if flags else "as they are")
    assert facts["our share of it"].endswith("%")


def test_compiling_on_a_cpu_is_refused():
    done = runner.invoke(app, ["bench", "--model", "toy", "--compile"])

    assert isinstance(done.exception, LoadTestError)
    assert "cuda" in str(done.exception)
