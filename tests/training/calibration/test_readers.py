"""Both readers give raw rewards, as transformers computes each text alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rm_core.checkpoint.manifest import read_manifest, write_manifest
from rm_core.engine import load_engine
from rm_core.types import Dialogue
from tests.training.made_up import (
    made_up_baselines,
    made_up_calibration,
    made_up_figures,
    made_up_report,
)
from training.calibration.readers import Reader, served_reader, trained_reader
from training.config import TrainingConfig
from training.evaluation.scorer import Candidate, Reading, Refusal
from training.modeling.reward_model import TrainableModel
from training.publishing.publish import publish


@pytest.fixture
def served(start: TrainableModel, tmp_path: Path) -> Reader:
    """Of a checkpoint with a calibration of its own, which must not show."""
    from dataclasses import replace

    output = tmp_path / "model"
    config = TrainingConfig(role="safety", data=("d",), base="b", output=str(output))
    figures, calibration = made_up_figures(), made_up_calibration()
    publish(start, config, made_up_report(), figures, made_up_baselines(), calibration)
    manifest = read_manifest(output)
    assert manifest is not None
    write_manifest(output, replace(manifest, temperature=3.0, bias=7.0))
    return served_reader(load_engine({"safety": str(output)}, device="cpu"), "safety")


def test_both_give_the_raw_reward_of_each_text_alone(start: TrainableModel, served: Reader) -> None:
    trained = trained_reader(start.model, start.encoder, pad_token_id=start.pad_token_id)
    texts = [("Why?", "Because."), ("Why?", "It is so, and has always been."), ("How?", "Slowly.")]
    candidates = [Candidate(prompt, response) for prompt, response in texts]
    ids = [start.encoder.encode(Dialogue(p, r)).input_ids for p, r in texts]
    with torch.inference_mode():
        alone = [start.model(input_ids=torch.tensor([own])).logits.item() for own in ids]

    for read in (trained, served):
        given = [r.reward for r in read(candidates) if isinstance(r, Reading)]
        np.testing.assert_allclose(given, alone, atol=1e-5)
        as_ids = [Candidate("", "", token_ids=own) for own in ids]
        given = [r.reward for r in read(as_ids) if isinstance(r, Reading)]
        np.testing.assert_allclose(given, alone, atol=1e-5)


def test_what_can_t_be_read_is_refused_in_its_place(start: TrainableModel, served: Reader) -> None:
    trained = trained_reader(start.model, start.encoder, pad_token_id=start.pad_token_id)
    candidates = [Candidate("p", "word " * 400), Candidate("p", "r"), Candidate("p", " ")]

    for read in (trained, served):
        first, second, third = read(candidates)
        assert first == Refusal("input_too_long")
        assert isinstance(second, Reading)
        assert third == Refusal("empty_text")
    assert list(trained([])) == list(served([])) == []
