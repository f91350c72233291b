"""The trial that a packed forward must pass."""

from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rm_core.checkpoint.load import load_reward_model
from rm_core.engine.forward.choose import choose_forward
from rm_core.engine.forward.self_test import random_texts, tried
from rm_core.engine.options import EngineOptions
from rm_core.errors import ConfigurationError
from tests.models import EOS, make_model, save_checkpoint

ALONE = torch.tensor([[1.0], [-3.0], [0.0]])


def trial(found: Tensor, *, exact: bool = True) -> str:
    return tried(lambda: "made", lambda _: found, ALONE, exact=exact)


def test_what_gives_the_rewards_of_each_text_alone_is_taken() -> None:
    assert trial(ALONE + 5e-5) == "made"


@pytest.mark.parametrize("exact", [True, False])
def test_other_rewards_are_told_and_rounding_is_allowed_in_reduced_precision(exact: bool) -> None:
    assert trial(ALONE + 0.02, exact=exact) == (
        "packed rewards differ by 2.0e-02 from those of each text alone" if exact else "made"
    )
    assert "differ" in trial(ALONE + 0.2, exact=exact)


def test_rewards_that_are_not_numbers_fail() -> None:
    assert trial(torch.full((3, 1), torch.nan)) != "made"


@pytest.mark.parametrize("error", [TypeError, KeyError, RuntimeError, AssertionError, ImportError])
def test_what_raises_is_refused_by_the_errors_name(error: type[Exception]) -> None:
    def broken(_: str = "") -> Tensor:
        raise error("no such part")

    told = f"the packed way raised {error.__name__} ({error('no such part')})"
    assert tried(broken, lambda _: ALONE, ALONE, exact=True) == told
    assert tried(lambda: "made", broken, ALONE, exact=True) == told


def test_the_texts_would_show_a_neighbours_influence() -> None:
    first, second, *_ = texts = random_texts(make_model("llama"), 64, count=6)

    assert first.input_ids[:32] == second.input_ids[:32]
    assert first.input_ids[32:] != second.input_ids[32:]
    assert len({text.num_tokens for text in texts}) > 2
    assert [text.input_ids.count(EOS) for text in texts] == [1, 1, 2, 1, 1, 1]
    assert all(text.read_position == text.num_tokens - 1 <= 63 for text in texts)


def test_a_model_whose_bits_depend_on_company_is_refused_by_name(tmp_path: Path) -> None:
    """Each run differs a little, as where a library picks its kernels by what else there is."""
    loaded = load_reward_model(str(save_checkpoint(tmp_path, "llama")), "safety")
    norm, runs = loaded.model.base_model.norm, count()
    own = norm.forward
    norm.forward = lambda hidden: own(hidden) * (1 + 1e-6 * (next(runs) % 5))

    choose_forward(loaded)  # rewards themselves are near enough

    with pytest.raises(ConfigurationError, match="texts have other bits alone than in company"):
        choose_forward(loaded, options=EngineOptions(deterministic=True))
