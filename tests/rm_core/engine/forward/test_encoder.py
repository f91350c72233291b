"""Encoders over rows of whole texts give each text the reward it has alone."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Linear
from transformers import AutoConfig

from rm_core.checkpoint.heads import head_of
from rm_core.checkpoint.load import load_reward_model
from rm_core.engine.forward.base import Forward
from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.forward.choose import choose_forward
from rm_core.engine.forward.encoder import EncoderRows, encoder_rows
from rm_core.errors import ConfigurationError
from rm_core.types import Encoded
from tests.models import COMMON, classifier_of, make_tokenizer, save_checkpoint
from tests.rm_core.engine.companies import examples

PACKED = ("bert", "roberta", "xlm-roberta", "electra", "distilbert")
PADDED = ("deberta-v2", "modernbert", "albert")


def make_encoder(architecture: str) -> Any:
    options = {**COMMON, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    options |= {"embedding_size": 16, "type_vocab_size": 2, "local_attention": 8}
    config = AutoConfig.for_model(architecture, **options)
    torch.manual_seed(0)
    return classifier_of(config)


def texts_of(lengths: list[int], seed: int = 0, alphabet: int = 320) -> list[Encoded]:
    rng = random.Random(seed)
    rows = [tuple(rng.randrange(alphabet) for _ in range(length)) for length in lengths]
    return [Encoded(row, len(row) - 1) for row in rows]


def alone(model: Any, texts: list[Encoded]) -> list[float]:
    with torch.inference_mode():
        return [
            float(model(input_ids=torch.tensor([text.input_ids])).logits[0, 0]) for text in texts
        ]


@pytest.mark.parametrize("architecture", PACKED)
@settings(max_examples=examples(10), deadline=None)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    row_tokens=st.one_of(st.none(), st.integers(1, 600)),
    alphabet=st.sampled_from([2, 320]),
    seed=st.integers(0, 2**32),
)
def test_a_texts_reward_is_the_one_it_has_alone_in_rows_of_any_length(
    architecture: str, lengths: list[int], row_tokens: int | None, alphabet: int, seed: int
) -> None:
    texts = texts_of(lengths, seed, alphabet)  # ids of padding among them
    model = make_encoder(architecture)
    expected = alone(model, texts)

    found = EncoderRows(model, row_tokens=row_tokens).rewards(texts)

    assert [row[0] for row in found] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("architecture", [*PACKED, *PADDED])
def test_an_encoder_takes_the_packed_way_where_its_rewards_stay_right(
    architecture: str, tmp_path: Path
) -> None:
    make_encoder(architecture).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    texts = texts_of([1, 90, 3, 17, 300, 301], alphabet=250)
    expected = alone(make_encoder(architecture), texts)

    forward = choose_forward(load_reward_model(str(tmp_path), "safety"))

    assert forward.path == ("packed" if architecture in PACKED else "padded")
    assert not forward.shares_prefixes
    assert not forward.reads_positions
    assert [row[0] for row in forward.rewards(texts)] == pytest.approx(expected, abs=1e-5)


def test_further_heads_read_what_the_models_own_head_reads() -> None:
    model, texts = make_encoder("roberta"), texts_of([5, 40, 9], alphabet=250)
    own = head_of(model)
    further = Linear(own.in_features, 1)
    expected = BatchedForward(make_encoder("roberta"), heads=[further], reason="").rewards(texts)
    rows = EncoderRows(model, heads=[further], row_tokens=20)

    found = rows.rewards(texts)

    assert found == [pytest.approx(row, abs=1e-5) for row in expected]
    states = rows.states(texts, [[text.read_position] for text in texts])
    with torch.inference_mode():
        assert further(states)[:, 0].tolist() == pytest.approx([row[1] for row in found], abs=1e-6)


@pytest.mark.parametrize("way", [EncoderRows, partial(BatchedForward, reason="")])
def test_equal_texts_run_once(way: Callable[[Any], Forward]) -> None:
    model, (text, other) = make_encoder("bert"), texts_of([5, 9], alphabet=250)
    forward, given = way(model), []
    head_of(model).register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))

    first, second, third = forward.rewards([text, other, text])

    assert sum(map(len, given)) == 2
    assert first == third != second


def test_positions_within_a_text_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="as a whole"):
        EncoderRows(make_encoder("bert")).states(texts_of([5]), [[0]])


def test_nothing_in_nothing_out() -> None:
    rows = EncoderRows(make_encoder("bert"))

    assert rows.rewards([]) == []
    assert rows.states([], []).shape == (0, 0)


def test_on_a_cpu_rows_are_short_enough_for_its_caches() -> None:
    lengths: list[int] = []
    model = make_encoder("bert")
    model.base_model.encoder.register_forward_pre_hook(
        lambda _, inputs: lengths.append(inputs[0].shape[1])
    )

    encoder_rows(model).rewards(texts_of([600, 600, 600, 600, 30]))

    assert lengths == [1800, 630]


def test_a_model_whose_trial_fails_is_given_back_to_transformers(tmp_path: Path) -> None:
    loaded = load_reward_model(str(save_checkpoint(tmp_path, "bert")), "safety")
    original = loaded.model.config._attn_implementation
    loaded.model.base_model.pooler.register_forward_hook(
        lambda _m, _i, output: output * (1 + 9 * (output.shape[0] > 1))  # not text by text
    )

    forward = choose_forward(loaded)

    assert forward.path == "one_by_one"
    assert "packed rewards differ" in forward.reason
    assert loaded.model.config._attn_implementation == original
