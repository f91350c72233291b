"""Where long texts are read by other frequencies, each text keeps the reward it has alone."""

import random
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from rm_core.checkpoint.load import load_reward_model
from rm_core.engine import load_engine
from rm_core.engine.forward.base import reads_of
from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.forward.by_length import LengthClassForward, class_borders
from rm_core.engine.forward.choose import choose_forward
from rm_core.engine.forward.packed import fastest_packed
from rm_core.types import Dialogue, Encoded, ReadPosition
from tests.models import COMMON, classifier_of, make_model, make_tokenizer
from tests.rewards import own_rewards

BORDER = 128
ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": BORDER,
}


def make_phi3() -> Any:
    options = {**COMMON, "num_key_value_heads": 2, "sliding_window": None, "rope_parameters": ROPE}
    config = AutoConfig.for_model("phi3", **options, original_max_position_embeddings=BORDER)
    torch.manual_seed(0)
    return classifier_of(config)


def texts_around_the_border() -> list[Encoded]:
    rng = random.Random(4)
    prompt = [rng.randrange(250) for _ in range(100)]
    lengths = [1, 20, 27, 28, 29, 60, 200]
    rows = [[*prompt, *(rng.randrange(250) for _ in range(length))] for length in lengths]
    texts = [Encoded(tuple(row), len(row) - 1) for row in rows]
    # Read before the border, in a text that goes beyond it.
    return [
        *texts,
        Encoded(tuple(rows[5]), 90),
        Encoded(tuple(rows[6]), 199, extra_positions=PLACES),
    ]


PLACES = (ReadPosition(40, 0, 0, ""), ReadPosition(150, 0, 0, ""))


def alone(model: Any, text: Encoded) -> torch.Tensor:
    with torch.inference_mode():
        hidden = model.base_model(input_ids=torch.tensor([text.input_ids]))[0][0]
        return model.score(hidden)[:, 0]


@pytest.mark.parametrize("way", ["packed", "padded"])
def test_short_texts_keep_their_rewards_beside_long_ones(way: str) -> None:
    texts = texts_around_the_border()
    expected = [alone(make_phi3(), text) for text in texts]
    model = make_phi3()
    inner = fastest_packed(model) if way == "packed" else BatchedForward(model, reason="")
    forward = LengthClassForward(inner, class_borders(model.config))

    rewards = forward.rewards(texts)

    read = [
        float(tokens[position])
        for text, tokens in zip(texts, expected, strict=True)
        for position in reads_of(text)
    ]
    assert len(read) == len(texts) + len(PLACES)
    assert [row[0] for row in rewards] == pytest.approx(read, abs=1e-5)


def test_without_classes_the_rewards_would_differ() -> None:
    texts = texts_around_the_border()
    expected = [float(alone(make_phi3(), text)[i]) for text in texts for i in reads_of(text)]

    found = [row[0] for row in fastest_packed(make_phi3()).rewards(texts)]

    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) > 0.01


def test_states_are_those_of_each_text_alone() -> None:
    texts = texts_around_the_border()
    reads = [[0, text.read_position] for text in texts]
    model = make_phi3()
    with torch.inference_mode():
        wanted = torch.cat(
            [
                model.base_model(input_ids=torch.tensor([text.input_ids]))[0][0][own]
                for text, own in zip(texts, reads, strict=True)
            ]
        )

    found = LengthClassForward(fastest_packed(model), [BORDER]).states(texts, reads)

    assert torch.allclose(found, wanted, atol=1e-5)


def test_the_engine_takes_texts_of_two_classes_apart_and_says_so(tmp_path: Any) -> None:
    make_phi3().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    engine = load_engine({"safety": str(tmp_path)})
    dialogues = [Dialogue("p" * 60, "r" * count) for count in (5, 200, 68, 69)]
    items = [engine.encode(dialogue) for dialogue in dialogues]

    together = own_rewards(engine, items)

    assert "texts up to 128 tokens apart" in engine.describe()["safety"]["path_reason"]
    singly = [own_rewards(engine, [item])[0]["safety"] for item in items]
    assert [reward["safety"] for reward in together] == pytest.approx(singly, abs=1e-5)


def test_a_pack_planned_ahead_is_used_where_all_texts_are_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = LengthClassForward(fastest_packed(make_phi3()), [BORDER])
    planned: list[int] = []
    real = fastest_packed(make_phi3()).plan_ahead.__func__  # type: ignore[attr-defined]

    def counting(self: Any, texts: Any) -> None:
        planned.append(len(texts))
        real(self, texts)

    monkeypatch.setattr("rm_core.engine.forward.packed.PackedForward.plan_ahead", counting)
    texts = texts_around_the_border()
    forward.plan_ahead(texts[:2])
    forward.plan_ahead(texts)

    assert planned == [2]


def test_nothing_in_nothing_out() -> None:
    forward = LengthClassForward(fastest_packed(make_phi3()), [BORDER])

    assert forward.rewards([]) == []
    assert forward.states([], []).shape == (0, 0)


@pytest.mark.parametrize(
    ("rope", "borders"),
    [
        (None, ()),
        ({"rope_type": "default", "rope_theta": 1e4}, ()),
        (ROPE, (BORDER,)),
        ({"full_attention": ROPE, "sliding_attention": {"rope_type": "default"}}, (BORDER,)),
    ],
)
def test_borders_are_found_in_the_config(rope: Any, borders: tuple[int, ...]) -> None:
    config = make_model("llama").config
    config.rope_parameters = rope

    assert class_borders(config) == borders


def test_a_model_that_reads_no_text_beyond_the_border_runs_as_it_is(tmp_path: Any) -> None:
    make_phi3().save_pretrained(tmp_path)
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = BORDER
    tokenizer.save_pretrained(tmp_path)

    forward = choose_forward(load_reward_model(str(tmp_path), "safety"))

    assert not isinstance(forward, LengthClassForward)
