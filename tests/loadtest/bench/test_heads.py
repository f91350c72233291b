import pytest

from loadtest import workloads
from loadtest.bench.heads import bench_heads, many_headed, rewards_alone_by_head
from loadtest.models import build_heads
from loadtest.oracle import rewards_alone
from loadtest.settings import BenchSettings

OPTIONS = BenchSettings(groups=2, responses=2, prompt_tokens=16, rounds=1, heads=3).sized()


def test_every_head_is_checked_against_its_own_checkpoint(model, tokenizer, tmp_path):
    (rounds,) = bench_heads(model, OPTIONS, tokenizer, tmp_path)

    assert rounds.reference == "one head"
    assert rounds.wrong() == []
    assert rounds.timings["3 heads on one trunk"].max_error < 1e-5


def test_the_truth_of_many_heads_is_that_of_each_checkpoint(model, tokenizer, tmp_path):
    texts = workloads.mixed(tokenizer, texts=3).texts
    checkpoints = build_heads(tmp_path, model, 3)
    names = [path.name for path in checkpoints]

    found = rewards_alone_by_head(many_headed(checkpoints), tokenizer, texts, names)

    wholes = [text.whole for text in texts]
    for path in checkpoints:
        assert found[path.name] == pytest.approx(rewards_alone(path, wholes), abs=1e-5)
    assert len({round(values[0], 4) for values in found.values()}) == 3


def test_heads_have_one_trunk_on_the_disk_and_are_built_once(model, tmp_path):
    checkpoints = build_heads(tmp_path, model, 3)
    trunks = {(path / "model-00001-of-00002.safetensors").stat().st_ino for path in checkpoints}
    before = [
        (path / "model-00002-of-00002.safetensors").stat().st_mtime_ns for path in checkpoints
    ]

    assert build_heads(tmp_path, model, 3) == checkpoints
    assert len(trunks) == 1
    assert before == [
        (path / "model-00002-of-00002.safetensors").stat().st_mtime_ns for path in checkpoints
    ]
