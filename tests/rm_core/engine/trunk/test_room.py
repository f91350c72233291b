"""The room for tokens is what the tables hold, whatever the configuration promises."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from rm_core.engine import load_engine
from rm_core.engine.trunk.room import room_of
from rm_core.errors import InputTooLong
from rm_core.types import Dialogue, TokenIds
from tests.models import COMMON, classifier_of, make_model, make_tokenizer, save_checkpoint
from tests.rewards import own_rewards


def model_of(architecture: str, **options: Any) -> Any:
    return classifier_of(AutoConfig.for_model(architecture, **{**COMMON, **options}))


ROBERTA = {"max_position_embeddings": 514, "pad_token_id": 1}


@pytest.mark.parametrize(
    ("architecture", "options", "limit", "room"),
    [
        ("roberta", ROBERTA, 514, 512),
        ("roberta", ROBERTA, 300, 300),
        ("roberta", {**ROBERTA, "pad_token_id": 50}, 514, 463),
        ("bert", {"max_position_embeddings": 48}, 48, 48),
        ("gpt2", {"max_position_embeddings": 48}, 48, 48),
        ("llama", {"max_position_embeddings": 48}, 48, 48),
        ("ctrl", {"n_positions": 48, "dff": 64}, 48, 48),
    ],
)
def test_as_many_tokens_as_there_is_room_for_run_and_one_more_does_not(
    architecture: str, options: dict[str, Any], limit: int, room: int
) -> None:
    model = model_of(architecture, **options)

    assert room_of(model, limit) == room

    ids = torch.full((1, room), 5)
    with torch.inference_mode():
        assert torch.isfinite(model(input_ids=ids).logits).all()
        if room < limit:
            with pytest.raises((IndexError, RuntimeError)):
                model(input_ids=torch.full((1, room + 1), 5))


def test_a_table_with_a_row_for_padding_tells_its_room_without_a_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rm_core.engine.trunk.room._worth_a_trial", lambda *_: False)

    assert room_of(model_of("roberta", **ROBERTA), 514) == 512


@pytest.mark.parametrize("kept", [47, 100, 239])
def test_a_table_that_is_shorter_than_its_configuration_says_is_found_by_trying(kept: int) -> None:
    model = model_of("gpt2", max_position_embeddings=240)
    model.transformer.wpe = torch.nn.Embedding(kept, 32)

    assert room_of(model, 240) == kept


def test_long_texts_are_tried_only_where_there_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    monkeypatch.setattr(
        "rm_core.engine.trunk.room._takes", lambda _, length: tried.append(length) or True
    )

    assert room_of(make_model("llama", max_position_embeddings=32768), 32768) == 32768
    assert tried == []
    assert room_of(model_of("gpt2", max_position_embeddings=2048), 2048) == 2048
    assert tried == [2048]


def test_the_first_layer_alone_is_run() -> None:
    model = make_model("llama", num_hidden_layers=3)
    ran: list[int] = []
    for index, layer in enumerate(model.model.layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))

    assert room_of(model, 48) == 48

    assert ran == [0]


def test_a_text_of_exactly_the_limit_is_scored_and_one_more_token_is_refused_by_name(
    tmp_path: Path,
) -> None:
    model = model_of("roberta", **ROBERTA)
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    engine = load_engine({"safety": str(tmp_path)})
    ids = tuple(range(2, 202)) * 3

    (rewards,) = own_rewards(engine, [engine.encode(TokenIds(ids[:512]))])

    with torch.inference_mode():
        alone = model(input_ids=torch.tensor([ids[:512]])).logits
    assert rewards["safety"] == pytest.approx(float(alone), abs=1e-5)
    with pytest.raises(InputTooLong, match="513 tokens, and the model reads at most 512"):
        engine.encode(TokenIds(ids[:513]))
    told = engine.describe()["safety"]
    assert told["max_length"] == told["position"]["max_length"] == 512
    assert told["max_length_reason"].startswith("its checkpoint says 514")
    cut = engine.encode(Dialogue("p" * 600, "r" * 9), truncate="prompt")
    assert cut.num_tokens == 512


def test_a_limit_that_holds_needs_no_reason(tmp_path: Path) -> None:
    engine = load_engine({"safety": str(save_checkpoint(tmp_path))})

    assert engine.describe()["safety"]["max_length_reason"] is None
