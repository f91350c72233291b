import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from rm_core.checkpoint.heads import head_of
from rm_core.errors import (
    CheckpointError,
    CheckpointNotFound,
    ConfigurationError,
    UnsafeCheckpoint,
)
from rm_core.types import Dialogue, Message
from tests.models import make_model, make_tokenizer, save_checkpoint
from training.modeling.reward_model import (
    ENCODER_TEMPLATE,
    PAD_TOKEN,
    TrainableModel,
    check_base,
    disable_dropout,
    encoder_from,
    initialise_head,
    reward_model_from,
)


def model_on(base: Path, directory: Path, **tokens: Any) -> TrainableModel:
    """A reward model on that base with some of its tokenizer's tokens or its template changed."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    for name, value in tokens.items():
        setattr(tokenizer, name, value)
    LlamaForCausalLM.from_pretrained(base).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return reward_model_from(str(directory), max_length=64, seed=0)


def test_the_head_is_drawn_with_one_over_root_d_plus_one_and_reproducibly() -> None:
    config = LlamaConfig(
        vocab_size=10, hidden_size=1024, intermediate_size=8, num_hidden_layers=1, num_labels=1
    )
    model = AutoModelForSequenceClassification.from_config(config)
    initialise_head(model, seed=3)
    drawn = head_of(model).weight.detach().clone()
    assert drawn.std().item() == pytest.approx(1 / math.sqrt(1025), rel=0.1)
    torch.randn(5)
    initialise_head(model, seed=3)
    assert torch.equal(head_of(model).weight, drawn)
    initialise_head(model, seed=4)
    assert not torch.equal(head_of(model).weight, drawn)


def test_the_same_seed_gives_the_same_model_whatever_was_drawn_before(tiny_base: Path) -> None:
    first = reward_model_from(str(tiny_base), max_length=64, seed=5).model.state_dict()
    torch.randn(100)
    second = reward_model_from(str(tiny_base), max_length=64, seed=5).model.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_text_has_one_bos_and_one_eos_and_is_read_at_the_eos(
    start: TrainableModel,
) -> None:
    tokenizer = start.tokenizer
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    prompt = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?"))
    for dialogue in (Dialogue("Why?", "Because."), Dialogue(prompt, "Because.")):
        encoded = start.encoder.encode(dialogue)
        ids = encoded.input_ids
        assert (ids[0], ids.count(tokenizer.bos_token_id)) == (tokenizer.bos_token_id, 1)
        assert (ids[-1], ids.count(tokenizer.eos_token_id)) == (tokenizer.eos_token_id, 1)
        assert encoded.read_position == len(ids) - 1
        assert not encoded.warnings


@pytest.mark.parametrize("pad_is_eos", [True, False])
def test_a_base_without_a_pad_token_of_its_own_gets_one(
    tiny_base: Path, tmp_path: Path, pad_is_eos: bool
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    pad_token = tokenizer.eos_token if pad_is_eos else None
    start = model_on(tiny_base, tmp_path, pad_token=pad_token)
    assert start.pad_token_id not in {tokenizer.eos_token_id, tokenizer.bos_token_id}
    assert start.tokenizer.pad_token == PAD_TOKEN
    assert start.model.config.pad_token_id == start.pad_token_id
    assert start.model.get_input_embeddings().num_embeddings > start.pad_token_id
    encoded = start.encoder.encode(Dialogue("a", "b"))
    assert encoded.input_ids[encoded.read_position] == tokenizer.eos_token_id


def test_a_template_with_a_stop_of_its_own_is_followed_by_eos(
    tiny_base: Path, tmp_path: Path
) -> None:
    """A turn that is finished for `missing_eos` is not for that ended with EOS."""
    template = "{% for m in messages %}{{ m['content'] + '|' }}{% endfor %}"
    start = model_on(tiny_base, tmp_path, chat_template=template)

    encoded = start.encoder.encode(Dialogue("a", "b"))

    assert encoded.input_ids[encoded.read_position] == start.tokenizer.eos_token_id


def test_a_template_that_already_ends_with_eos_and_a_line_break_gets_no_second_one(
    tiny_base: Path, tmp_path: Path
) -> None:
    template = "{% for m in messages %}{{ m['content'] + eos_token + '\\n' }}{% endfor %}"
    start = model_on(tiny_base, tmp_path, chat_template=template)
    assert start.encoder.contract.eos == "never"
    ids = start.encoder.encode(Dialogue("a", "b")).input_ids
    assert ids[-1] != start.tokenizer.eos_token_id
    assert ids[-2] == start.tokenizer.eos_token_id


def test_a_base_without_template_reads_prompt_and_response_end_to_end(
    tiny_base: Path, tmp_path: Path
) -> None:
    start = model_on(tiny_base, tmp_path, chat_template=None)
    tokenizer = start.tokenizer
    ids = start.encoder.encode(Dialogue("The sky is", " blue.")).input_ids
    whole = tokenizer("The sky is blue.", add_special_tokens=False)["input_ids"]
    assert [i for i in ids if i not in tokenizer.all_special_ids] == whole
    assert ids[-1] == tokenizer.eos_token_id


def test_eos_ends_a_text_whose_template_ends_turns_otherwise(
    tiny_base: Path, tmp_path: Path
) -> None:
    template = "{% for m in messages %}{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    start = model_on(tiny_base, tmp_path, chat_template=template)

    found = start.encoder.encode(Dialogue("q", "a"))

    assert found.input_ids.count(start.tokenizer.eos_token_id) == 1
    assert found.input_ids[found.read_position] == start.tokenizer.eos_token_id


DATED = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m['content'] }}{% endfor %}"


def test_a_template_that_writes_the_date_wants_to_be_told_it(
    tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="template_date"):
        model_on(tiny_base, tmp_path, chat_template=DATED)


def test_a_told_date_is_what_texts_hold_and_what_the_contract_keeps(
    tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError):
        model_on(tiny_base, tmp_path, chat_template=DATED)  # the base is written by then
    told = {"max_length": 64, "template_date": "2024-07-26"}
    start = reward_model_from(str(tmp_path), seed=0, **told)
    found = start.encoder.encode(Dialogue("q", "a"))

    assert "26 Jul 2024qa" in start.tokenizer.decode(found.input_ids)
    assert "dated_template" not in found.warnings
    assert start.encoder.contract.template_date == "2024-07-26"
    assert encoder_from(str(tmp_path), **told).encode(Dialogue("q", "a")) == found


def test_a_date_is_not_kept_for_a_template_that_asks_for_none(tiny_base: Path) -> None:
    start = reward_model_from(str(tiny_base), max_length=64, seed=0, template_date="2024-07-26")

    assert start.encoder.contract.template_date is None


def test_a_base_that_cannot_be_loaded_safely_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound):
        reward_model_from(str(tmp_path / "absent"), max_length=64, seed=0)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UnsafeCheckpoint):
        reward_model_from(str(tmp_path), max_length=64, seed=0)


def test_a_base_with_two_labels_is_no_reward_model_and_gets_a_head_of_one_or_is_refused(
    tmp_path: Path,
) -> None:
    """OpenRLHF 1039: a merge left two outputs, and whoever loaded it read one of them."""
    make_model("llama", num_labels=2).save_pretrained(tmp_path)
    make_tokenizer(chat=True).save_pretrained(tmp_path)

    with pytest.raises(CheckpointError, match="can't load"):
        reward_model_from(str(tmp_path), max_length=64, seed=0)


def test_dropout_can_be_switched_off_everywhere(tiny_base: Path) -> None:
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=16)
    ).train()
    ids = torch.arange(10)[None]
    assert not torch.equal(model(ids).logits, model(ids).logits)
    disable_dropout(model)
    assert torch.equal(model(ids).logits, model(ids).logits)
    llama = LlamaForCausalLM.from_pretrained(
        tiny_base, attention_dropout=0.5, attn_implementation="eager"
    ).train()
    disable_dropout(llama)
    assert torch.equal(llama(ids).logits, llama(ids).logits)


def test_a_reward_model_keeps_its_head_when_it_is_trained_further(
    start: TrainableModel, tmp_path: Path
) -> None:
    start.model.save_pretrained(tmp_path)
    start.tokenizer.save_pretrained(tmp_path)
    again = reward_model_from(str(tmp_path), max_length=64, seed=99)
    assert torch.equal(head_of(again.model).weight, head_of(start.model).weight)


def save_encoder(directory: Path, *, pooler: bool = True) -> str:
    """A random BERT without a head, as masked language modelling leaves it."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
    model = make_model("bert", pad_token_id=tokenizer.pad_token_id, vocab_size=len(tokenizer)).bert
    if not pooler:
        model.pooler = None
    model.save_pretrained(directory)
    tokenizer.bos_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(directory)
    return str(directory)


def test_an_encoder_sees_where_turns_end_and_is_read_by_transformers_own_head(
    tmp_path: Path,
) -> None:
    start = reward_model_from(save_encoder(tmp_path), max_length=64, seed=0)
    assert start.tokenizer.chat_template == ENCODER_TEMPLATE
    assert type(start.model).__name__ == "BertForSequenceClassification"
    assert head_of(start.model) is start.model.classifier
    assert start.random == ()
    ids = start.encoder.encode(Dialogue("Why?", "So.")).input_ids
    cls, sep = start.tokenizer.cls_token_id, start.tokenizer.sep_token_id
    letters = start.tokenizer("Why?So.", add_special_tokens=False)["input_ids"]
    assert list(ids) == [cls, *letters[:4], sep, *letters[4:], sep]
    assert start.encoder.contract.bos == start.encoder.contract.eos == "never"


def test_weights_that_an_encoder_lacks_between_trunk_and_head_are_named(tmp_path: Path) -> None:
    start = reward_model_from(save_encoder(tmp_path, pooler=False), max_length=64, seed=0)
    assert start.random == ("bert.pooler.dense.bias", "bert.pooler.dense.weight")


def test_trunks_of_one_base_are_equal_whatever_seed_draws_their_heads(
    tiny_base: Path, tmp_path: Path
) -> None:
    model_on(tiny_base, tmp_path, pad_token=None)
    one, other = (reward_model_from(str(tmp_path), max_length=64, seed=s).model for s in (1, 2))
    vocabulary = LlamaForCausalLM.from_pretrained(tiny_base).config.vocab_size
    assert one.config.vocab_size == vocabulary + 1  # for the pad token
    trunk, others = one.base_model.state_dict(), other.base_model.state_dict()
    assert all(torch.equal(trunk[name], others[name]) for name in trunk)
    assert not torch.equal(one.score.weight, other.score.weight)


def test_the_default_among_named_templates_is_what_training_renders_with(
    tiny_base: Path, tmp_path: Path
) -> None:
    own = AutoTokenizer.from_pretrained(tiny_base).chat_template
    named: Any = {"default": own, "tool_use": "{{ messages[0].content }}"}

    started = model_on(tiny_base, tmp_path / "named", chat_template=named)

    assert started.tokenizer.chat_template == own
    assert started.encoder.contract.rendering == "chat"
    with pytest.raises(CheckpointError, match="chat templates tool_use and none"):
        model_on(tiny_base, tmp_path / "none", chat_template={"tool_use": "x"})


def edited(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> str:
    """A reward model whose tensors were changed."""
    save_checkpoint(directory)
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return str(directory)


def lost_head(weights: dict[str, torch.Tensor]) -> None:
    weights["v_head.weight"] = weights.pop("score.weight")


def hidden_layers(weights: dict[str, torch.Tensor]) -> None:
    del weights["score.weight"]
    weights |= {"score.0.weight": torch.ones(4, 32), "score.2.weight": torch.ones(1, 4)}


def dropped_bias(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.ones(32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lost_head, r"lacks score\.weight; .* --head v_head"),
        (hidden_layers, "training starts from linear ones"),
        (dropped_bias, r"q_proj\.bias, for which its architecture has no place"),
    ],
)
def test_a_reward_model_that_would_lose_a_part_is_no_base(
    change: Callable[[dict[str, torch.Tensor]], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        reward_model_from(edited(tmp_path / "base", change), max_length=64, seed=0)


def test_a_quantised_base_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "base")
    path = directory / "config.json"
    config = json.loads(path.read_text()) | {"quantization_config": {"quant_method": "awq"}}
    path.write_text(json.dumps(config))

    with pytest.raises(CheckpointError, match=r"quantised \(awq\)"):
        check_base(str(directory))


def test_what_transformers_raises_over_a_base_is_one_sentence(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "base")
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": "many"}))

    with pytest.raises(CheckpointError, match="expected int, got str") as told:
        reward_model_from(str(directory), max_length=64, seed=0)

    assert "\n" not in str(told.value)
