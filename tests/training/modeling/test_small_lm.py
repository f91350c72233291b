from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rm_core.checkpoint.atomic import recover_directory
from rm_core.errors import ConfigurationError, NotSaved
from rm_core.types import Dialogue
from tests.training.full_disk import disk_full_after
from training.errors import DataError
from training.modeling import small_lm as base_model
from training.modeling.small_lm import (
    CHAT_TEMPLATE,
    BaseModelConfig,
    check_base_output,
    make_base_model,
    make_tokenizer,
)


def test_the_tokenizer_reads_every_text_back_and_keeps_its_marks_apart() -> None:
    tokenizer = make_tokenizer([("some text to learn from",)], BaseModelConfig(vocabulary=300))
    for text in ("plain", "Ünïcödé 两个 🙂", "tabs\tand\n\nlines  "):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
    marks = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    marks += tokenizer.convert_tokens_to_ids(["<|system|>", "<|user|>", "<|assistant|>"])
    assert len(set(marks)) == 6


def test_the_template_knows_no_clock() -> None:
    assert "strftime" not in CHAT_TEMPLATE
    assert "date" not in CHAT_TEMPLATE


def test_language_modelling_lowers_the_loss_on_its_text(tmp_path: Path) -> None:
    dialogues = [Dialogue("What is it?", f"It is a thing number {i}.") for i in range(40)]
    losses = []
    for name, epochs in (("raw", 0.01), ("schooled", 6.0)):
        config = BaseModelConfig(
            vocabulary=320, hidden=32, layers=1, heads=2, epochs=epochs, block=16, batch_size=8
        )
        make_base_model(dialogues, tmp_path / name, config)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name).eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / name)
        ids = tokenizer("What is it?", return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            losses.append(model(input_ids=ids, labels=ids).loss.item())
    assert losses[1] < 0.8 * losses[0]


SMALL = BaseModelConfig(
    vocabulary=300, hidden=16, layers=1, heads=2, max_length=64, epochs=0.01, block=16
)


def made(output: Path, about: str) -> None:
    dialogues = [Dialogue("What is it?", f"{about} number {i}.") for i in range(10)]
    make_base_model(dialogues, output, SMALL)


class NoTrainer:
    """In the place of HF `Trainer`: what is written is looked at, not what was learned."""

    def __init__(self, **_: Any) -> None:
        pass

    def remove_callback(self, _: Any) -> None:
        pass

    def train(self) -> None:
        pass


def test_a_disk_that_fills_up_at_any_write_leaves_the_old_base_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_model, "Trainer", NoTrainer)
    output = tmp_path / "base"
    made(output, "A thing")
    before = {path.name: path.read_bytes() for path in output.iterdir()}

    for changes in range(100):
        with disk_full_after(changes, below=tmp_path) as disk, suppress(NotSaved):
            made(output, "Another matter")
        if not disk.refused:
            break
        recover_directory(output)  # as whoever makes the next one does
        assert {path.name: path.read_bytes() for path in output.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["base"]

    assert changes >= 4  # config, weights, tokenizer, rename: each has failed
    assert {path.name: path.read_bytes() for path in output.iterdir()} != before


def test_only_an_absent_or_an_empty_place_is_for_a_base(tmp_path: Path) -> None:
    check_base_output(tmp_path / "absent")
    check_base_output(tmp_path)
    (tmp_path / "config.json").write_text("{}")

    for place in (tmp_path, tmp_path / "config.json"):
        with pytest.raises(ConfigurationError, match="choose another --output"):
            check_base_output(place)


def test_a_place_below_a_file_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="can't be made"):
        check_base_output(tmp_path / "file" / "models" / "base")


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give more text"):
        make_base_model([Dialogue("a", "b")], tmp_path, BaseModelConfig(vocabulary=300))
