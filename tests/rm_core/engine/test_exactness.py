"""Scores equal transformers' own forward of each text alone, whatever shares its batch."""

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_core.engine import Engine, load_engine
from rm_core.types import Dialogue
from tests.models import ARCHITECTURES, DECODERS, make_tokenizer, save_checkpoint
from tests.rewards import own_rewards

TOLERANCE = 1e-5


def oracle(directory: Path, texts: list[str]) -> list[float]:
    """Transformers' forward, batch size 1, fp32, no padding."""
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    rewards = []
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, return_tensors="pt").input_ids
            rewards.append(float(model(input_ids=ids).logits[0, 0]))
    return rewards


def rewards_of(engine: Engine, dialogues: list[Dialogue]) -> list[float]:
    items = [engine.encode(dialogue) for dialogue in dialogues]
    return [reward["helpfulness"] for reward in own_rewards(engine, items)]


def random_text(rng: random.Random, length: int) -> str:
    return "".join(rng.choice("abcdefgh ijklmnop qrstuvwxyz,.") for _ in range(length))


def mixture(rng: random.Random) -> list[Dialogue]:
    """Texts of 1 to 512 tokens, some in groups with a common prompt, some equal."""
    lengths = [1, 2, 7, 63, 64, 65, 130, 300, 511, 512]
    dialogues = [Dialogue("", random_text(rng, n - 1) + "x") for n in lengths]
    for prompt_length in (3, 40, 200):
        prompt = random_text(rng, prompt_length)
        dialogues += [
            Dialogue(prompt, random_text(rng, rng.randint(1, 90)) + "y") for _ in range(4)
        ]
    dialogues += [dialogues[3], dialogues[-1]]
    rng.shuffle(dialogues)
    return dialogues


@pytest.mark.parametrize("pad_is_eos", [False, True], ids=["own-pad", "pad-is-eos"])
@pytest.mark.parametrize("add_bos", [False, True], ids=["no-bos", "bos"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_in_any_batch_equal_the_text_alone(
    architecture: str, add_bos: bool, pad_is_eos: bool, tmp_path: Path
) -> None:
    tokenizer = make_tokenizer(add_bos=add_bos, pad_is_eos=pad_is_eos)
    save_checkpoint(tmp_path, architecture, tokenizer=tokenizer)
    engine = load_engine({"helpfulness": str(tmp_path)})
    rng = random.Random(architecture)
    dialogues = mixture(rng)
    if pad_is_eos:  # a text that ends with EOS, which transformers takes for padding
        dialogues.append(Dialogue("some prompt ", "an answer</s>"))

    expected = oracle(tmp_path, [d.prompt + d.response for d in dialogues])
    found = rewards_of(engine, dialogues)

    assert found == pytest.approx(expected, abs=TOLERANCE)
    assert torch.tensor(expected).std() > 0.01, "rewards too alike to show an error"


@pytest.mark.parametrize("architecture", DECODERS)
def test_decoders_go_the_packed_way(architecture: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, architecture)

    engine = load_engine({"helpfulness": str(tmp_path)})

    assert engine.describe()["helpfulness"]["path"] == "packed"


def test_an_encoder_goes_the_packed_way_and_shares_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "bert")

    engine = load_engine({"helpfulness": str(tmp_path)})

    assert engine.describe()["helpfulness"]["path"] == "packed"
    assert not engine.shares_prefixes


def test_an_encoder_whose_attention_is_its_own_goes_the_padded_way_and_says_why(
    tmp_path: Path,
) -> None:
    save_checkpoint(tmp_path, "deberta-v2")

    description = load_engine({"helpfulness": str(tmp_path)}).describe()["helpfulness"]

    assert description["path"] == "padded"
    assert "attention" in description["path_reason"]
