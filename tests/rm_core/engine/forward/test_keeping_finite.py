"""One text's NaN stays its own: what it spoils of the tokens before it is never kept."""

import copy
import random

import pytest
import torch

from tests.models import make_model
from tests.rm_core.engine.forward.test_keeping import alone, cache_of, close, draw, keeping, text_of

BROKEN = 7


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("fast", [True, False])
def test_a_text_without_a_finite_reward_does_not_spoil_those_that_begin_like_it(
    architecture: str, fast: bool
) -> None:
    model = make_model(architecture)
    reference = copy.deepcopy(model)
    forward = keeping(model, fast=fast)
    with torch.no_grad():
        model.base_model.embed_tokens.weight[BROKEN] = float("nan")
    ids = [each for each in draw(random.Random(3), 60) if each != BROKEN]
    sound, broken = text_of(ids), text_of([*ids[:40], BROKEN, *ids[:3]])

    assert not torch.tensor(forward.rewards([broken])).isfinite().any()

    for _ in range(2):
        assert close(forward.rewards([sound]), alone(reference, (), [sound]))
    assert cache_of(forward).stats().hits == 1
