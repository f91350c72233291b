"""The command line end to end: the benchmark, and a real `rewardd serve` under load."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadtest.__main__ import app, main
from loadtest.errors import LoadTestError
from loadtest.peers import peer_named
from loadtest.servers import Launch
from tests.loadtest.scripted_server import reply, scripted_server

runner = CliRunner()
ALL = (
    *("saturation", "groups", "group-singles", "burst", "poisson"),
    *("long-tail", "mixed", "singles", "one", "turns", "again", "staggered"),
)


def test_help_imports_nothing_heavy_and_lists_the_commands():
    code = (
        "import sys; sys.argv = ['loadtest', '--help']\n"
        "from loadtest.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )

    assert "HEAVY []" in done.stdout
    assert all(
        command in done.stdout
        for command in ("bench", "serve", "compare", "overhead", "memory", "models")
    )


def test_bench_writes_its_tables(tmp_path: Path):
    flags = (
        "bench --model toy --rounds 1 --groups 2 --responses 2 --prompt-tokens 16 --shape grpo "
        f"--directory {tmp_path} --json {tmp_path}/b.json --markdown {tmp_path}/b.md"
    )
    done = runner.invoke(app, flags.split(), catch_exceptions=False)

    assert done.exit_code == 0, done.output
    assert "## grpo, one reward model" in done.output
    assert (tmp_path / "b.md").read_text() == done.output
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["results"][0]["strategies"]["ours"]["max_error"] < 1e-5
    assert found["environment"]["model"] == "toy"


def test_memory_tells_what_the_caches_hold_and_fails_where_they_were_not_filled(tmp_path: Path):
    flags = (
        f"memory --prompts 600 --prefix-cache-bytes 200000 --reward-cache-bytes 100000 "
        f"--slack-mib 512 --directory {tmp_path} --json {tmp_path}/m.json"
    )
    done = runner.invoke(app, flags.split(), catch_exceptions=False)

    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "m.json").read_text())
    assert found["wrong"] == []
    assert [sample["texts"] for sample in found["samples"]] == [256, 512, 600]
    assert all(0 < sample["prefix_cache_bytes"] <= 200_000 for sample in found["samples"])

    few = runner.invoke(app, f"memory --prompts 10 --directory {tmp_path}".split())
    assert few.exit_code == 1
    assert "the caches did not fill" in few.output


@pytest.mark.slow
def test_a_real_server_answers_every_scenario_rightly(models, tmp_path: Path):
    served = {"safety": models.safety, "helpfulness": models.helpfulness}
    with Launch(peer_named("rewardd"), threads=1).running(served) as target:
        url = f"http://127.0.0.1:{target.endpoints[0].origin.port}"
        flags = (
            f"serve {url} --safety-model {models.safety} --helpfulness-model {models.helpfulness} "
            "--texts 12 --groups 2 --responses 3 --prompt-tokens 32 --longest 256 "
            f"--burst-seconds 0.2 --pace 0.01 --rate 150 "
            f"--directory {tmp_path} --json {tmp_path}/s.json "
            f"--markdown {tmp_path}/s.md --plot {tmp_path}/s.png"
        )
        done = runner.invoke(app, flags.split(), catch_exceptions=False)

    # The exit code also speaks of lateness, which a busy machine brings.
    found = {run["name"]: run for run in json.loads((tmp_path / "s.json").read_text())["results"]}
    assert tuple(found) == ALL
    for run in found.values():
        assert run["ok"] == run["offered"]
        assert run["reasons"] == {}
        assert run["max_error"] < 1e-5
    assert done.exit_code == int(any(run["void"] for run in found.values()))
    assert "| group-singles, last of group" in (tmp_path / "s.md").read_text()
    assert (tmp_path / "s.png").stat().st_size > 0


def test_a_server_that_scores_wrongly_fails_the_command(model: Path, tmp_path: Path):
    async def answer(path: str, body: bytes) -> bytes:
        texts = json.loads(body)["texts"] if body else []
        return reply(json.dumps({"rewards": [0.0] * len(texts)}).encode())

    with scripted_server(answer) as server:
        flags = (
            f"serve {server.url} --peer naive --safety-model {model} --scenario mixed --texts 8 "
            f"--directory {tmp_path}"
        )
        done = runner.invoke(app, flags.split())

    assert done.exit_code == 1
    assert "1 × wrong reward" in done.output


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("serve http://127.0.0.1:1", "--safety-model"),
        ("serve http://127.0.0.1:1 --safety-model {model} --peer nobody", "no adapter"),
        ("serve a b --safety-model {model}", "one URL"),
        ("bench --model huge", "no model size"),
        ("bench --device cuda:99 --model toy", "CUDA"),
        ("compare --peer nobody", "no adapter"),
    ],
)
def test_a_wrong_flag_is_answered_without_a_traceback(
    flags, said, model, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["loadtest", *flags.format(model=model).split()])

    with pytest.raises(SystemExit) as exit_info:
        main()

    assert exit_info.value.code == 2
    assert said in capsys.readouterr().err


def test_what_was_started_is_stopped_where_the_command_is_ended_from_outside():
    code = (
        "import sys, threading; sys.argv = ['loadtest', 'wait']\n"
        "from loadtest.__main__ import app, main\n"
        "@app.command()\n"
        "def wait():\n"
        "    try:\n"
        "        print('started', flush=True); threading.Event().wait(60)\n"
        "    finally: print('stopped', flush=True)\n"
        "main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.terminate()
        assert process.stdout.read() == "stopped\n"

    assert process.returncode == 128 + 15


def test_models_are_built_and_named(tmp_path: Path):
    done = runner.invoke(app, ["models", "toy", "--directory", str(tmp_path)])

    assert done.exit_code == 0
    assert len(done.output.split()) == 3
    assert all((Path(path) / "model.safetensors").exists() for path in done.output.split())


def test_train_makes_its_files_and_refuses_what_it_can_not_add_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from loadtest.bench.training import measure

    seen: list[Any] = []
    monkeypatch.setattr(measure, "measure_training", lambda *told: seen.append(told))
    flags = (
        f"train --data {tmp_path} --seed 4 --trainer ours --records 9 --json {tmp_path}/t.json "
        f"--markdown {tmp_path}/t.md"
    )

    done = runner.invoke(app, flags.split(), catch_exceptions=False)
    again = runner.invoke(app, [*flags.split(), "--append"], catch_exceptions=False)

    assert done.exit_code == again.exit_code == 0
    settings = seen[0][0]
    assert (settings.seed, settings.trainer, settings.records) == ([4], ["ours"], 9)
    assert json.loads((tmp_path / "t.json").read_text())["settings"] == settings.to_json()
    assert (tmp_path / "t.md").read_text() == again.output
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(LoadTestError, match="no result of `train`"):
        runner.invoke(app, [*flags.split(), "--append"], catch_exceptions=False)
    assert len(seen) == 2  # it was refused before anything ran
