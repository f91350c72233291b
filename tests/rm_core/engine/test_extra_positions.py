"""Every token's reward is the head on transformers' own hidden state there, in any company."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
from rm_core.engine import Engine, EngineOptions, load_engine
from rm_core.engine.forward.batched import BatchedForward
from rm_core.errors import ReadsWholeText
from rm_core.text.contract import default_contract
from rm_core.types import Dialogue, EncodedItem
from tests.models import make_tokenizer, save_checkpoint
from tests.rewards import own_rewards

TOLERANCE = 1e-5
DECODERS = ("llama", "gpt2", "gemma2")


def rewards_of_tokens(model: Any, text: str, tokenizer: Any) -> list[float]:
    """The head on transformers' hidden states of a text alone, at each of its tokens."""
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        hidden = model.base_model(input_ids=ids).last_hidden_state[0]
        return model.score(hidden)[:, 0].tolist()


def company(rng: random.Random) -> list[Dialogue]:
    """Texts with and without detail: groups with a common prompt, prefixes of others, equals."""
    long = "".join(rng.choice("abcdefgh ijkl.") for _ in range(150))
    prompt = "".join(rng.choice("mnopqrst uvw.") for _ in range(40))
    return [
        Dialogue(prompt, "a first answer", read_at="tokens"),
        Dialogue(prompt, "a second one,\n\nin steps\n\n", read_at=(15, 25)),
        Dialogue(prompt, "a second one,\n\nin steps\n\n"),
        Dialogue("", long, read_at="tokens"),
        Dialogue("", long[:70], read_at="tokens"),
        Dialogue(long[:80], long[80:], read_at=(1, 1, 33)),
        Dialogue(prompt, "a first answer"),
        Dialogue(prompt, "z", read_at="tokens"),
    ]


def check(
    directory: Path, dialogues: list[Dialogue], items: list[EncodedItem], engine: Engine
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    found = engine.forward(items)
    spread = []
    for dialogue, item, rewards in zip(dialogues, items, found, strict=True):
        encoded = item.by_model["helpfulness"]
        expected = rewards_of_tokens(model, dialogue.prompt + dialogue.response, tokenizer)
        at = [encoded.read_position, *(place.position for place in encoded.extra_positions)]
        spread += expected
        assert rewards["helpfulness"] == pytest.approx([expected[i] for i in at], abs=TOLERANCE)
    assert torch.tensor(spread).std() > 0.01, "rewards too alike to show an error"


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("architecture", DECODERS)
def test_packed_rewards_within_a_text_equal_the_text_alone(
    architecture: str, deterministic: bool, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, architecture, tokenizer=make_tokenizer(add_bos=True))
    engine = load_engine({"helpfulness": str(tmp_path)}, EngineOptions(deterministic=deterministic))
    dialogues = company(random.Random(architecture))
    random.Random(1).shuffle(dialogues)
    items = [engine.encode(dialogue) for dialogue in dialogues]

    assert engine.describe()["helpfulness"]["path"] == "packed"
    check(tmp_path, dialogues, items, engine)
    for item, dialogue in zip(items, dialogues, strict=True):
        check(tmp_path, [dialogue], [item], engine)


@pytest.mark.parametrize("architecture", DECODERS)
def test_padded_decoders_give_the_same(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rm_core.engine.forward.choose.trunk_obstacle", lambda _: "this test")
    save_checkpoint(tmp_path, architecture)
    engine = load_engine({"helpfulness": str(tmp_path)})
    dialogues = company(random.Random(architecture))

    assert engine.describe()["helpfulness"]["path"] == "padded"
    check(tmp_path, dialogues, [engine.encode(dialogue) for dialogue in dialogues], engine)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
@pytest.mark.parametrize("read_at", ["tokens", (3,)])
def test_encoders_refuse_and_say_what_to_do(
    architecture: str, read_at: Any, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, architecture)
    engine = load_engine({"helpfulness": str(tmp_path)})

    with pytest.raises(ReadsWholeText, match="as a whole"):
        engine.encode(Dialogue("p", "answer", read_at=read_at))
    assert engine.describe()["helpfulness"]["reads_places"] is False
    assert own_rewards(engine, [engine.encode(Dialogue("p", "answer"))])


def test_a_decoder_that_looks_ahead_is_found_by_trying(tmp_path: Path) -> None:
    loaded = load_reward_model(str(save_checkpoint(tmp_path)), "safety")
    assert BatchedForward(loaded.model, reason="").reads_positions

    def both_ways(module: Any, query: Any, key: Any, value: Any, *_: Any, **options: Any) -> Any:
        options.update(attention_mask=None, is_causal=False)
        groups = query.shape[1] // key.shape[1]
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        )
        return out.transpose(1, 2), None

    from transformers import AttentionInterface

    AttentionInterface.register("looks_ahead", both_ways)
    loaded.model.set_attn_implementation("looks_ahead")

    assert not BatchedForward(loaded.model, reason="").reads_positions


def test_a_checkpoint_with_a_head_for_every_token_is_loaded_and_read_at_the_end(
    tmp_path: Path,
) -> None:
    save_checkpoint(tmp_path / "plain")
    save_checkpoint(tmp_path / "per-token")
    contract = default_contract(make_tokenizer(), max_length=512)
    write_manifest(tmp_path / "per-token", RewardModelManifest("safety", contract, "per_token"))
    plain, per_token = (
        load_engine({"safety": str(tmp_path / name)}) for name in ("plain", "per-token")
    )
    dialogue = Dialogue("p", "an answer")

    assert per_token.describe()["safety"]["head"] == "per_token"
    assert plain.describe()["safety"]["head"] == "last_token"
    assert own_rewards(per_token, [per_token.encode(dialogue)]) == own_rewards(
        plain, [plain.encode(dialogue)]
    )
