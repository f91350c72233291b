"""`loadtest train`'s worker with the real TRL, run as the command runs it: by its path, apart."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

from tests.integration.trainers.conftest import ROOT, config_of, make_tokenizer

WORKER = ROOT / "loadtest" / "bench" / "training" / "trl_worker.py"
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
RECIPE = {
    "learning_rate": 1e-2,
    "min_learning_rate_ratio": 0.1,
    "weight_decay": 0.1,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-5,
    "max_grad_norm": 1.0,
    "logging_steps": 5,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = config_of(tokenizer, num_labels=1, num_attention_heads=2, **sizes)
    LlamaForSequenceClassification(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def rows(count: int) -> list[dict[str, Any]]:
    def turn(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    return [
        {
            "prompt": turn("user", "tell me " + "more " * (i % 3)),
            "chosen": turn("assistant", "a" * (i % 5 + 1)),
            "rejected": turn("assistant", "b" * (i % 5 + 1)),
        }
        for i in range(count)
    ]


@pytest.mark.parametrize("grouped", [False, True])
def test_the_worker_trains_and_tells(model: Path, tmp_path: Path, grouped: bool) -> None:
    data = rows(20)
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in data))
    job = {
        "model": str(model),
        "data": str(tmp_path / "pairs.jsonl"),
        "output": str(tmp_path / "out"),
        "result": str(tmp_path / "result.json"),
        "recipe": RECIPE,
        "batch": 4,
        "warmup": 1,
        "max_length": 64,
        "seed": 0,
        "threads": 1,
        "grouped": grouped,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))

    subprocess.run(
        [sys.executable, "-P", str(WORKER), str(tmp_path / "job.json")], check=True, cwd=tmp_path
    )

    told = json.loads((tmp_path / "result.json").read_text())
    texts = {
        "".join(turn["content"] + "\0" for turn in [*row["prompt"], *row[side]])
        for row in data
        for side in ("chosen", "rejected")
    }
    assert told["pairs"] == 20
    assert len(told["update_seconds"]) == 5
    assert sum(told["update_seconds"]) <= told["seconds"]
    assert told["computed_tokens"] >= told["sequence_tokens"]
    letters = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    ids = [[letters["</s>" if c == "\0" else c] for c in text] for text in texts]
    assert told["texts"] == sorted(hashlib.sha256(repr(each).encode()).hexdigest() for each in ids)
    before, after = (
        AutoModelForSequenceClassification.from_pretrained(path)
        for path in (model, tmp_path / "out")
    )
    assert not torch.equal(before.score.weight, after.score.weight)
