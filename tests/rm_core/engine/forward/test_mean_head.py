"""A mean head's reward is its head on the mean of transformers' own hidden states."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_core.checkpoint.manifest import HeadKind, RewardModelManifest, write_manifest
from rm_core.engine import EngineOptions, load_engine
from rm_core.errors import CheckpointError, InputError
from rm_core.text.contract import default_contract
from rm_core.types import Dialogue, RenderedText, Role, TokenIds
from tests.models import make_tokenizer, save_checkpoint
from tests.rewards import own_rewards

TOLERANCE = 1e-5


def checkpoint(
    directory: Path,
    head: HeadKind = "mean",
    *,
    architecture: str = "llama",
    role: Role = "helpfulness",
    add_bos: bool = False,
) -> str:
    tokenizer = make_tokenizer(add_bos=add_bos)
    save_checkpoint(directory, architecture, tokenizer=tokenizer)
    contract = default_contract(tokenizer, max_length=512)
    write_manifest(directory, RewardModelManifest(role, contract, head))
    return str(directory)


def head_of_the_mean(name: str, dialogue: Dialogue) -> float:
    """By transformers alone; the tokenizer has one token a character."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(name).eval()
    tokenizer = AutoTokenizer.from_pretrained(name)
    ids = tokenizer(dialogue.prompt + dialogue.response, return_tensors="pt").input_ids
    with torch.inference_mode():
        hidden = model.base_model(input_ids=ids).last_hidden_state[0]
        mean = hidden[-len(dialogue.response) :].mean(dim=0)
        return float(model.score(mean)[0])


def company() -> list[Dialogue]:
    rng = random.Random(0)
    prompt, long = ("".join(rng.choice("abcd efg.") for _ in range(n)) for n in (60, 150))
    return [
        Dialogue(prompt, "a first answer"),
        Dialogue(prompt, "a second one,\n\nin steps\n\n", read_at=(15, 25)),
        Dialogue(long[:50], long[50:], read_at="tokens"),
        Dialogue("", long[:70]),
        Dialogue(prompt, "z"),
        Dialogue(prompt, "a first answer"),
    ]


@pytest.mark.parametrize("way", ["fast", "deterministic", "padded"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_reward_is_the_head_of_the_response_s_mean_hidden_state_in_any_company(
    architecture: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "padded":
        monkeypatch.setattr("rm_core.engine.forward.choose.trunk_obstacle", lambda _: "this test")
    name = checkpoint(tmp_path, architecture=architecture, add_bos=True)
    engine = load_engine({"helpfulness": name}, EngineOptions(deterministic=way == "deterministic"))
    dialogues = company()
    expected = [head_of_the_mean(name, dialogue) for dialogue in dialogues]
    items = [engine.encode(dialogue) for dialogue in dialogues]
    engine.plan_ahead(items)

    together = [rewards["helpfulness"] for rewards in own_rewards(engine, items)]
    alone = [own_rewards(engine, [item])[0]["helpfulness"] for item in items]

    assert together == pytest.approx(expected, abs=TOLERANCE)
    assert alone == pytest.approx(expected, abs=TOLERANCE)
    assert torch.tensor(expected).std() > 0.01, "rewards too alike to show an error"
    assert engine.describe()["helpfulness"]["head"] == "mean"


def test_rewards_of_tokens_stay_their_own_and_their_mean_is_the_reward(tmp_path: Path) -> None:
    mean = load_engine({"helpfulness": checkpoint(tmp_path / "mean")})
    last = load_engine({"helpfulness": checkpoint(tmp_path / "last", "last_token")})
    dialogue = Dialogue("a prompt", "an answer", read_at="tokens")

    (found,) = mean.forward([mean.encode(dialogue)])
    (tokens,) = last.forward([last.encode(dialogue)])

    reward, *within = found["helpfulness"]
    assert within == pytest.approx(tokens["helpfulness"][1:], abs=1e-6)
    assert reward == pytest.approx(sum(within) / len(within), abs=1e-6)


def test_a_head_that_averages_and_one_that_does_not_share_a_trunk(tmp_path: Path) -> None:
    mean = checkpoint(tmp_path / "mean")
    last = checkpoint(tmp_path / "last", "last_token", role="safety")
    both = load_engine({"safety": last, "helpfulness": mean})
    dialogue = Dialogue("a prompt", "an answer")

    (found,) = own_rewards(both, [both.encode(dialogue)])

    assert both.describe()["safety"]["shares_trunk_with"] == ["helpfulness"]
    alone = load_engine({"safety": last})
    (expected,) = own_rewards(alone, [alone.encode(dialogue)])
    assert found["safety"] == pytest.approx(expected["safety"], abs=TOLERANCE)
    assert found["helpfulness"] == pytest.approx(head_of_the_mean(mean, dialogue), abs=TOLERANCE)
    assert found["helpfulness"] != pytest.approx(found["safety"], abs=1e-3)


def test_a_text_whose_response_cannot_be_told_is_refused_alone(tmp_path: Path) -> None:
    engine = load_engine({"helpfulness": checkpoint(tmp_path)})
    for unknown in (TokenIds((5, 6, 7)), RenderedText("a prompt an answer")):
        with pytest.raises(InputError, match="send prompt and response"):
            engine.encode(unknown)
    known = RenderedText("a prompt an answer", num_prompt_characters=len("a prompt "))
    (found,) = own_rewards(engine, [engine.encode(known)])
    (expected,) = own_rewards(engine, [engine.encode(Dialogue("a prompt ", "an answer"))])
    assert found == pytest.approx(expected)


def test_a_response_without_a_token_is_read_where_the_text_ends(tmp_path: Path) -> None:
    engine = load_engine({"helpfulness": checkpoint(tmp_path / "mean")})
    last = load_engine({"helpfulness": checkpoint(tmp_path / "last", "last_token")})
    empty = Dialogue("a prompt", "", allow_empty=True)
    assert own_rewards(engine, [engine.encode(empty)])[0]["helpfulness"] == pytest.approx(
        own_rewards(last, [last.encode(empty)])[0]["helpfulness"], abs=1e-6
    )


def test_an_encoder_cannot_average_and_says_so_when_it_is_loaded(tmp_path: Path) -> None:
    name = checkpoint(tmp_path, architecture="bert")
    with pytest.raises(CheckpointError, match="reads the text as a whole"):
        load_engine({"helpfulness": name})
