"""The traps between a text and the token that is read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import AutoConfig

from rewardd.checkpoints.inspect.checkpoint import inspect_checkpoint
from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
from rm_core.text.contract import default_contract
from tests.models import COMMON, EOS, PAD, classifier_of, save_checkpoint
from tests.models import make_tokenizer as make


def with_date() -> Any:
    tokenizer = make(chat=True)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    return tokenizer


TRAPS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a plain tokenizer": ({}, set()),
    "padding with EOS": ({"tokenizer": make(pad_is_eos=True)}, {"pad_is_eos"}),
    "another pad token than the model's": ({"pad_token_id": 7}, {"pad_tokens_differ"}),
    "a template that writes the date": ({"tokenizer": with_date()}, {"template_calls_clock"}),
    "template and tokenizer write BOS": (
        {"tokenizer": make(chat=True, add_bos=True)},
        {"double_bos"},
    ),
    "the template alone writes BOS": ({"tokenizer": make(chat=True)}, set()),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_traps_are_warned_of(trap: str, tmp_path: Path) -> None:
    options, wanted = TRAPS[trap]

    found = inspect_checkpoint(str(save_checkpoint(tmp_path / "model", **options)), load=False)

    assert {each.code for each in found.findings if each.severity == "warning"} == wanted


def test_a_template_that_is_not_the_manifests_is_a_problem(tmp_path: Path) -> None:
    tokenizer: Any = make(chat=True)
    contract = default_contract(tokenizer, max_length=300)
    tokenizer.chat_template += " "
    directory = save_checkpoint(tmp_path / "model", tokenizer=tokenizer)
    write_manifest(directory, RewardModelManifest(role="safety", position=contract))

    found = inspect_checkpoint(str(directory), load=False)

    assert "template_changed" in {f.code for f in found.findings if f.severity == "problem"}


def test_a_template_whose_date_the_manifest_tells_is_no_trap(tmp_path: Path) -> None:
    tokenizer = with_date()
    contract = replace(default_contract(tokenizer, max_length=300), template_date="2024-07-26")
    directory = save_checkpoint(tmp_path / "model", tokenizer=tokenizer)
    write_manifest(directory, RewardModelManifest(role="safety", position=contract))

    found = inspect_checkpoint(str(directory), load=False)

    assert "template_calls_clock" not in {each.code for each in found.findings}


def test_the_room_is_told_that_the_server_will_find(tmp_path: Path) -> None:
    classifier_of(AutoConfig.for_model("roberta", **COMMON)).save_pretrained(tmp_path)
    tokenizer: Any = make()
    tokenizer.save_pretrained(tmp_path)
    write_manifest(
        tmp_path,
        RewardModelManifest(role="safety", position=default_contract(tokenizer, max_length=640)),
    )

    found = inspect_checkpoint(str(tmp_path))

    assert found.texts is not None
    assert found.path is not None
    assert found.texts.position["max_length"] == found.path["max_length"] == 640 - (PAD + 1)


def test_what_the_server_says_of_texts_is_noted(tmp_path: Path) -> None:
    is_open, pairs = make(chat=True), make()
    is_open.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    pairs.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", EOS)]
    )
    pairs.sep_token = "</s>"

    for code, tokenizer in (("unfinished_template", is_open), ("maybe_pair", pairs)):
        directory = save_checkpoint(tmp_path / code, tokenizer=tokenizer)
        found = inspect_checkpoint(str(directory), load=False)
        assert code in {each.code for each in found.findings if each.severity == "note"}
