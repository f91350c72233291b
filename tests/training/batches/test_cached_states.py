"""A head trained on cached states is the head that training over the frozen trunk gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rm_core.checkpoint.heads import head_of
from rm_core.errors import NotSaved, UnsupportedModel
from rm_core.types import Encoded
from tests.models import PAD, make_model
from tests.training.small_trainings import fresh, recipe, train_examples
from training.batches import cached_states
from training.batches.cached_states import (
    CachedLayout,
    CachedStates,
    HeadAlone,
    compute_states,
    open_states,
    read_in,
)
from training.config import TrainingConfig
from training.data.examples import EncodedExample
from training.errors import TrainingDiverged
from training.evaluation import score_examples
from training.losses import targets_of
from training.modeling.reward_model import TrainableModel
from training.modeling.trainable import prepare_for_training
from training.optimization.trainer import train

ROWS = 32
HEAD_ALONE = {
    "trainable": "head",
    "epochs": 2.0,
    "learning_rate": 1e-2,
    "gradient_accumulation": 2,
}


@pytest.fixture
def examples(start: TrainableModel, tmp_path: Path) -> tuple[EncodedExample, ...]:
    return train_examples(start.encoder, tmp_path, ROWS)


@contextmanager
def counted_calls(trunk: Any) -> Iterator[list[int]]:
    """How often the trunk's first layer has been run, whichever way."""
    calls: list[int] = []
    hook = trunk.layers[0].input_layernorm.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    hook.remove()


def states_of(
    start: TrainableModel, examples: Any, config: TrainingConfig, directory: Path
) -> CachedStates:
    texts = read_in(examples, config.head, targets_of(config.weights))
    return open_states(compute_states(start, texts, directory, role="safety"), texts)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objectives": {"bradley_terry": 1.0, "safety_auxiliary": 0.5}},
        {"head": "mean"},
        {"head": "per_token", "objectives": {"bradley_terry": 1.0, "token_bradley_terry": 0.3}},
    ],
    ids=["pairs", "pairs and labels", "mean head", "tokens"],
)
def test_a_head_trained_on_cached_states_is_the_one_that_the_frozen_trunk_gives(
    tiny_base: Path,
    examples: tuple[EncodedExample, ...],
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    config = recipe(**HEAD_ALONE, **options)
    over_trunk, cached = (prepare_for_training(fresh(tiny_base), config) for _ in range(2))
    untrained = over_trunk.model.score.weight.detach().clone()
    train(over_trunk, examples, config, run_directory=tmp_path / "over")

    states = states_of(cached, examples, config, tmp_path)
    with counted_calls(cached.model.base_model) as calls:
        alone = replace(cached, model=HeadAlone(head_of(cached.model)))
        layout = CachedLayout(states)
        train(alone, examples, config, run_directory=tmp_path / "cached", layout=layout)

    assert not calls
    found, expected = cached.model.score.weight, over_trunk.model.score.weight
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, untrained, atol=1e-3)
    trunk, other = cached.model.base_model, over_trunk.model.base_model
    assert all(
        torch.equal(a, b) for a, b in zip(trunk.parameters(), other.parameters(), strict=True)
    )


def test_an_encoders_head_is_trained_on_what_it_reads(tmp_path: Path) -> None:
    from tests.training.modeling.test_reward_model import save_encoder

    base = save_encoder(tmp_path / "base")
    config = recipe(**HEAD_ALONE, disable_dropout=True)
    over_trunk, cached = (prepare_for_training(fresh(Path(base)), config) for _ in range(2))
    examples = train_examples(cached.encoder, tmp_path, ROWS)
    train(over_trunk, examples, config, run_directory=tmp_path / "over")

    states = states_of(cached, examples, config, tmp_path)
    alone = replace(cached, model=HeadAlone(head_of(cached.model)))
    train(alone, examples, config, run_directory=tmp_path / "c", layout=CachedLayout(states))

    for name in ("weight", "bias"):
        found = getattr(cached.model.classifier, name)
        assert torch.allclose(found, getattr(over_trunk.model.classifier, name), atol=1e-6)
    pad = cached.pad_token_id
    layout = CachedLayout(states)
    rewards = score_examples(alone.model, examples, pad_token_id=pad, layout=layout)
    expected = score_examples(over_trunk.model, examples, pad_token_id=pad)
    for own, other in zip(rewards, expected, strict=True):
        assert own == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("head", ["last_token", "mean"])
def test_rewards_from_cached_states_are_those_of_the_model(
    start: TrainableModel, examples: tuple[EncodedExample, ...], tmp_path: Path, head: Any
) -> None:
    texts, pad = read_in(examples, head), start.pad_token_id
    states = open_states(compute_states(start, texts, tmp_path, role="safety"), texts)
    expected = score_examples(start.model, examples, pad_token_id=pad, head=head)

    alone, layout = HeadAlone(start.model.score), CachedLayout(states)
    found = score_examples(alone, examples, pad_token_id=pad, head=head, layout=layout)

    for own, other in zip(found, expected, strict=True):
        assert own == pytest.approx(other, abs=1e-5)


def test_a_second_run_finds_the_states_and_another_base_or_text_does_not(
    start: TrainableModel, examples: tuple[EncodedExample, ...], tmp_path: Path
) -> None:
    texts = read_in(examples, "last_token")
    path = compute_states(start, texts, tmp_path, role="safety")
    done: list[int] = []
    with counted_calls(start.model.base_model) as calls:
        assert compute_states(start, texts, tmp_path, role="safety", advance=done.append) == path
    assert not calls
    assert sum(done) == len({encoded.input_ids for encoded, _ in texts})

    fewer = compute_states(start, texts[:4], tmp_path, role="safety")
    other = replace(start, base={**start.base, "weights_sha256": "0" * 64})
    elsewhere = compute_states(other, texts[:4], tmp_path, role="safety")

    assert len({path, fewer, elsewhere}) == 3
    assert list(tmp_path.glob("hidden-states-*")) == [elsewhere]


def test_equal_texts_are_run_once_and_every_position_is_found(
    start: TrainableModel, tmp_path: Path
) -> None:
    one, other = Encoded((5, 6, 7, 8), 3), Encoded((5, 6, 9), 2)
    texts = [(one, [3]), (other, [2]), (one, [1, 3])]

    path = compute_states(start, texts, tmp_path, role="safety")
    states = open_states(path, texts)

    assert load_file(path)["states"].shape == (3, 32)
    with torch.inference_mode():
        hidden = start.model.base_model(input_ids=torch.tensor([one.input_ids]))[0][0]
    assert torch.allclose(states.at([(one, [1, 3])]), hidden[[1, 3]], atol=1e-5)
    with pytest.raises(KeyError):
        states.at([(other, [1])])


def test_a_full_disk_or_a_broken_trunk_leaves_no_states_behind(
    start: TrainableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [(Encoded((5, 6, 7), 2), [2])]

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cached_states, "_write_header", full)
    with pytest.raises(NotSaved, match=r"No space.*make room"):
        compute_states(start, texts, tmp_path, role="safety")
    assert list(tmp_path.iterdir()) == []

    monkeypatch.undo()
    with torch.no_grad():  # a token that no trial draws
        start.model.base_model.embed_tokens.weight[PAD].fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="not finite"):
        compute_states(start, [(Encoded((5, PAD, 7), 2), [2])], tmp_path, role="safety")
    assert list(tmp_path.iterdir()) == []

    with torch.no_grad():
        start.model.base_model.norm.weight.fill_(float("nan"))
    with pytest.raises(UnsupportedModel, match="not finite"):
        compute_states(start, texts, tmp_path, role="safety")
    assert list(tmp_path.iterdir()) == []


def test_the_trunk_is_given_back_as_transformers_runs_it(
    start: TrainableModel, tmp_path: Path
) -> None:
    model = replace(start, model=make_model("llama")).model
    ids = torch.randint(5, 200, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = model(input_ids=ids).logits

    compute_states(
        replace(start, model=model), [(Encoded((5, 6, 7), 2), [2])], tmp_path, role="safety"
    )

    with torch.inference_mode():
        assert torch.equal(model(input_ids=ids).logits, before)
