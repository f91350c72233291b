from functools import partial
from pathlib import Path

import pytest

from rm_core.checkpoint.load import load_reward_model
from rm_core.errors import CheckpointNotFound
from rm_core.rewards import Calibration
from rm_core.types import Dialogue
from tests.fakes import ERROR_MARK, NAN_MARK, DriftingScorer, FakeScorer, fake_reward
from tests.models import save_checkpoint
from tests.rewards import reward_alone
from training.evaluation.checkpoint_scorer import CheckpointScorer, EngineReader
from training.evaluation.scorer import Candidate, Reading, Refusal


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_checkpoint(tmp_path_factory.mktemp("models") / "tiny"))


def candidates(count: int) -> list[Candidate]:
    return [Candidate(f"Question {i // 3}?", f"Answer {i}, " * (i % 4 + 1)) for i in range(count)]


def test_rewards_are_transformers_own_and_those_of_steps_are_of_the_text_up_to_there(
    checkpoint: str,
) -> None:
    given = [*candidates(7), Candidate("Why?", "first. second.", step_ends=(6, 14))]
    told: list[int] = []
    scorer = CheckpointScorer(checkpoint, max_pack_tokens=64)
    readings = scorer.score(given, told.append)
    loaded = load_reward_model(checkpoint, "helpfulness")
    alone = partial(reward_alone, loaded.model, loaded.encoder)
    expected = [alone(one.prompt, one.response) for one in given]
    assert [one.reward for one in readings] == pytest.approx(expected, abs=1e-5)
    expected_steps = [alone("Why?", "first."), alone("Why?", "first. second.")]
    assert readings[-1].steps == pytest.approx(expected_steps, abs=1e-5)
    assert sum(told) == len(given)
    assert scorer.info.digest == loaded.profile.digest
    assert scorer.info.role is None


def test_token_ids_are_read_as_they_stand(checkpoint: str) -> None:
    loaded = load_reward_model(checkpoint, "helpfulness")
    ids = loaded.encoder.encode(Dialogue("Why?", "Because.")).input_ids
    by_text, by_ids = CheckpointScorer(checkpoint).score(
        [Candidate("Why?", "Because."), Candidate("?", "?", token_ids=ids)], lambda _: None
    )
    assert by_text == by_ids


def test_an_absent_checkpoint_is_told_before_anything_is_scored(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound):
        CheckpointScorer(str(tmp_path / "absent"))


def reader(engine: FakeScorer, **options: Calibration) -> EngineReader:
    return EngineReader(engine, "safety", "error", 1000, **options)


def test_equal_texts_have_one_reading_however_far_apart_they_stand() -> None:
    engine = DriftingScorer()
    given = [*candidates(1500), *candidates(3)]
    told: list[int] = []

    readings = EngineReader(engine, "safety", "error", 8).read(given, told.append)

    assert readings[1500:] == readings[:3]
    assert sum(told) == len(given)
    assert sum(map(len, engine.forwards)) == 1500


def test_what_can_not_be_read_is_refused_with_a_reason_and_costs_nobody_else() -> None:
    engine = FakeScorer(max_length=8)
    given = [
        Candidate("p", "fine"),
        Candidate("p", "one two three four five six seven eight"),
        Candidate("p", f"not a number {NAN_MARK}"),
        Candidate("p", " "),
    ]
    readings = reader(engine).read(given, lambda _: None)
    assert readings[0] == Reading(fake_reward("safety", Dialogue("p", "fine")))
    reasons = [one.reason for one in readings[1:] if isinstance(one, Refusal)]
    assert reasons == ["input_too_long", "non_finite_reward", "empty_text"]


def test_a_pack_that_does_not_fit_goes_in_halves() -> None:
    engine = FakeScorer()
    engine.max_fitting = 3
    given = candidates(20)
    readings = reader(engine).read(given, lambda _: None)
    assert all(isinstance(one, Reading) for one in readings)
    assert engine.failed
    assert max(len(pack) for pack in engine.forwards) <= 3
    assert [text for pack in engine.forwards for text in pack] == [one.response for one in given]


def test_what_does_not_fit_even_alone_is_refused() -> None:
    engine = FakeScorer()
    engine.max_fitting = 0
    assert reader(engine).read(candidates(2), lambda _: None) == [Refusal("out_of_memory")] * 2


def test_rewards_come_calibrated() -> None:
    plain, calibrated = (
        reader(FakeScorer(), calibration=calibration).read(candidates(1), lambda _: None)[0]
        for calibration in (Calibration(), Calibration(2.0, 0.5))
    )
    assert calibrated.reward == pytest.approx(plain.reward / 2 + 0.5)


def test_a_bug_in_the_engine_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="kernel failed"):
        reader(FakeScorer()).read([Candidate("p", ERROR_MARK)], lambda _: None)
