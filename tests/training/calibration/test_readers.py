"""Both readers give raw rewards, as transformers computes each text alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from rm_core.checkpoint.manifest import write_manifest
from rm_core.engine import load_engine
from rm_core.types import Dialogue
from tests.rewards import reward_alone
from tests.training.made_up import published
from training.calibration.readers import Reader, served_reader, trained_reader
from training.evaluation.scorer import Candidate, Reading, Refusal
from training.modeling.reward_model import TrainableModel


@pytest.fixture
def served(start: TrainableModel, tmp_path: Path) -> Reader:
    """Of a checkpoint with a calibration of its own, which must not show."""
    output = tmp_path / "model"
    write_manifest(output, replace(published(start, output), temperature=3.0, bias=7.0))
    return served_reader(load_engine({"safety": str(output)}, device="cpu"), "safety")


def test_both_give_the_raw_reward_of_each_text_alone(start: TrainableModel, served: Reader) -> None:
    trained = trained_reader(start.model, start.encoder, pad_token_id=start.pad_token_id)
    texts = [("Why?", "Because."), ("Why?", "It is so, and has always been."), ("How?", "Slowly.")]
    alone = [reward_alone(start.model, start.encoder, *text) for text in texts]
    candidates = [Candidate(prompt, response) for prompt, response in texts]
    ids = [start.encoder.encode(Dialogue(*text)).input_ids for text in texts]
    as_ids = [Candidate("", "", token_ids=own) for own in ids]

    for read in (trained, served):
        for given in (candidates, as_ids):
            assert [r.reward for r in read(given)] == pytest.approx(alone, abs=1e-5)


def test_what_can_t_be_read_is_refused_in_its_place(start: TrainableModel, served: Reader) -> None:
    trained = trained_reader(start.model, start.encoder, pad_token_id=start.pad_token_id)
    candidates = [Candidate("p", "word " * 400), Candidate("p", "r"), Candidate("p", " ")]

    for read in (trained, served):
        first, second, third = read(candidates)
        assert first == Refusal("input_too_long")
        assert isinstance(second, Reading)
        assert third == Refusal("empty_text")
    assert list(trained([])) == list(served([])) == []
