"""One place settles the chat template and tells which package a tokenizer's files need."""

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rm_core.checkpoint import tokenizer as tokenizers
from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.tokenizer import (
    load_tokenizer,
    missing_package,
    pad_disagreement,
    pad_tokens,
)
from rm_core.engine.engine import load_engine
from rm_core.errors import CheckpointError
from rm_core.text.contract import template_digest
from rm_core.types import Dialogue
from tests.models import CHAT_TEMPLATE, EOS, PAD, make_tokenizer, save_checkpoint
from tests.rewards import own_rewards

OTHER = "{% for m in messages %}tools: {{ m['content'] }}{% endfor %}"


def in_config(directory: Path, template: Any) -> None:
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))


def in_files(directory: Path, names: dict[str, str]) -> None:
    extra = directory / "additional_chat_templates"
    extra.mkdir()
    for name, template in names.items():
        path = directory / "chat_template.jinja" if name == "default" else extra / f"{name}.jinja"
        path.write_text(template)


def as_list(directory: Path, names: dict[str, str]) -> None:
    in_config(directory, [{"name": name, "template": text} for name, text in names.items()])


def in_processor(directory: Path, names: dict[str, str]) -> None:
    (directory / "chat_template.json").write_text(json.dumps({"chat_template": names}))


FORMS = [in_config, as_list, in_files, in_processor]


@pytest.mark.parametrize("save", FORMS)
def test_the_default_among_named_templates_renders(save: Any, tmp_path: Path) -> None:
    """Concatenated, the same dialogue has another reward."""
    plain = save_checkpoint(tmp_path / "plain")
    chat = save_checkpoint(tmp_path / "chat", tokenizer=make_tokenizer(chat=True))
    named = save_checkpoint(tmp_path / "named")
    save(named, {"tool_use": OTHER, "default": CHAT_TEMPLATE})

    found = [reward(directory) for directory in (named, chat, plain)]

    assert found[0] == found[1] != found[2]
    contract = load_reward_model(str(named), "safety").encoder.contract
    assert contract.rendering == "chat"
    assert contract.template_sha256 == template_digest(CHAT_TEMPLATE)


def reward(directory: Path) -> float:
    engine = load_engine({"safety": str(directory)})
    return own_rewards(engine, [engine.encode(Dialogue("How?", "So."))])[0]["safety"]


@pytest.mark.parametrize("save", FORMS)
def test_named_templates_without_a_default_are_refused_with_their_names(
    save: Any, tmp_path: Path
) -> None:
    directory = save_checkpoint(tmp_path / "named")
    save(directory, {"rag": CHAT_TEMPLATE, "tool_use": OTHER})

    with pytest.raises(CheckpointError, match="chat templates rag, tool_use and none"):
        load_reward_model(str(directory), "safety")


def test_a_template_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": 7}))

    with pytest.raises(CheckpointError, match="is a int and no text"):
        load_tokenizer("it", tmp_path)


@pytest.mark.parametrize(
    ("template", "message"),
    [("{% for x in", "no valid Jinja"), ("\n", "empty chat template")],
)
def test_a_template_that_can_render_nothing_is_refused(
    template: str, message: str, tmp_path: Path
) -> None:
    directory = save_checkpoint(tmp_path / "model")
    (directory / "chat_template.jinja").write_text(template)

    with pytest.raises(CheckpointError, match=message):
        load_reward_model(str(directory), "safety")


def test_a_vocabulary_that_encodes_nothing_is_refused(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] = {"a": 5}
    path.write_text(json.dumps(content))

    with pytest.raises(CheckpointError, match="no tokenizer that transformers can load"):
        load_tokenizer("it", tmp_path)


def test_a_damaged_generation_config_is_nobodys_concern(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("{")

    assert pad_tokens(config_of(3), tmp_path, make_tokenizer()) == {
        "config.json": 3,
        "the tokenizer": PAD,
    }


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers, "find_spec", lambda name: None)


@pytest.mark.parametrize("file", ["tokenizer.model", "spiece.model"])
@pytest.mark.usefixtures("nothing_installed")
def test_a_sentencepiece_file_alone_names_sentencepiece(file: str, tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")
    for own in ("tokenizer.json", "tokenizer_config.json"):
        (directory / own).unlink()
    (directory / file).write_bytes(b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00")

    with pytest.raises(CheckpointError, match=r"rewardd\[sentencepiece\]") as told:
        load_reward_model(str(directory), "safety")

    assert f"only as {file}, which needs sentencepiece and protobuf" in str(told.value)
    assert "tiktoken" not in str(told.value)


@pytest.mark.usefixtures("nothing_installed")
def test_a_tiktoken_file_is_known_by_its_lines(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(base64.b64encode(b"!") + b" 0\n")

    assert missing_package(tmp_path) == ("tokenizer.model", "tiktoken", "tiktoken")


@pytest.mark.usefixtures("nothing_installed")
def test_nothing_is_lacking_where_tokenizer_json_is_there(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a")

    assert missing_package(tmp_path) is None
    assert load_tokenizer("it", tmp_path).pad_token_id == PAD


def test_a_damaged_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")

    with pytest.raises(CheckpointError, match=r"can load of tokenizer\.json, tokenizer_config"):
        load_tokenizer("it", tmp_path)


def config_of(pad: int | None) -> Any:
    config = SimpleNamespace(pad_token_id=pad)
    config.get_text_config = lambda: config
    return config


def test_pad_tokens_that_differ_are_told_with_their_files(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"pad_token_id": EOS}))

    pads = pad_tokens(config_of(None), tmp_path, make_tokenizer())

    assert pads == {"generation_config.json": EOS, "the tokenizer": PAD}
    assert "generation_config.json 257, the tokenizer 258" in str(pad_disagreement(pads, read=None))
    assert pad_disagreement({"config.json": 3, "the tokenizer": 3}, read=3) is None


def test_a_loaded_model_brings_the_note_along(tmp_path: Path) -> None:
    differing = save_checkpoint(tmp_path / "differing", pad_token_id=EOS)
    agreeing = save_checkpoint(tmp_path / "agreeing")

    told = load_engine({"safety": str(differing)}).describe()["safety"]["notes"]

    assert "config.json 257, the tokenizer 258" in told[0]
    assert load_engine({"safety": str(agreeing)}).describe()["safety"]["notes"] == []
