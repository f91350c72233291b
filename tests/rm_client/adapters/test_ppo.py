"""Arrays in, arrays out, against the real server and the formulas written out."""

from typing import Any

import numpy as np
import pytest
import torch

from rm_client import AsyncRewardClient, InvalidRequest, ItemsFailed, RewardClient
from rm_client.adapters.ppo import PpoRewards, ppo_reward, ppo_reward_async
from tests.rm_client.examples import FAILED, STATISTICS, shaped
from tests.rm_client.servers import reply, scripted_server

PROMPTS = ["p", "q", [{"role": "user", "content": "r"}]]
RESPONSES = ["one", "two", "three"]
T = 5
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [1, 1, 0, 0, 0]])
ENDS = [5, 4, 2]


def log_probabilities() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    own = -rng.exponential(1.0, (3, T))
    ref = own + rng.normal(0.0, 0.5, (3, T))
    # What trainers leave behind the end.
    return np.where(MASK, own, -np.inf), np.where(MASK, ref, np.nan)


def expected_kl(estimator: str) -> Any:
    own, ref = log_probabilities()
    with np.errstate(invalid="ignore"):
        d = np.where(MASK, own - ref, 0.0)
    return {"k1": d, "k2": d**2 / 2, "k3": np.exp(-d) - 1 + d}[estimator]


@pytest.fixture
def client(server_url: str) -> RewardClient:
    return RewardClient(server_url)


def logits(client: RewardClient) -> Any:
    items = [{"prompt": p, "response": r} for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    return np.array([item.selected_reward for item in client.score(items).items])  # type: ignore[union-attr]


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("position", ["last_token", "after_last"])
def test_token_rewards_are_the_formula_and_the_reward_stands_where_it_should(
    client: RewardClient, estimator: Any, position: Any
) -> None:
    found = ppo_reward(
        client,
        PROMPTS,
        RESPONSES,
        *log_probabilities(),
        MASK,
        score_position=position,
        beta=0.3,
        kl_estimator=estimator,
        whiten="none",
    )
    kl = expected_kl(estimator)
    expected = -0.3 * kl
    for row, end in enumerate(ENDS):
        place = min(end, T - 1) if position == "after_last" else end - 1
        expected[row, place] += logits(client)[row]
    assert found.token_rewards.shape == (3, T)
    np.testing.assert_allclose(found.token_rewards, expected, atol=1e-5)
    np.testing.assert_allclose(found.kl, kl.sum(1), atol=1e-6)
    np.testing.assert_allclose(found.rewards, found.token_rewards.sum(1), atol=1e-6)
    np.testing.assert_allclose(found.whitened, logits(client), atol=1e-5)
    assert not found.failed.any()


def test_tensors_come_back_as_tensors_of_the_same_numbers(client: RewardClient) -> None:
    own, ref = log_probabilities()
    as_arrays = ppo_reward(client, PROMPTS, RESPONSES, own, ref, MASK, whiten="none")
    as_tensors = ppo_reward(
        client,
        PROMPTS,
        RESPONSES,
        torch.tensor(own, requires_grad=True),
        torch.tensor(ref),
        torch.tensor(MASK).bool(),
        whiten="none",
    )
    assert isinstance(as_tensors.token_rewards, torch.Tensor)
    assert as_tensors.token_rewards.dtype == torch.float64
    assert as_tensors.failed.dtype == torch.bool
    np.testing.assert_allclose(as_tensors.token_rewards.numpy(), as_arrays.token_rewards, atol=1e-5)


def test_clips_go_along_and_what_the_server_warns_of_is_logged(
    client: RewardClient, caplog: pytest.LogCaptureFixture
) -> None:
    own, ref = [[-1.0, -40.0]] * 3, [[-1.0, -1.0]] * 3
    options = {"whiten": "none", "beta": 1.0, "stream": "clipped", "kl_estimator": "k3"}

    found = ppo_reward(
        client, PROMPTS, RESPONSES, own, ref, kl_clip=4.0, reward_clip=0.25, **options
    )
    ppo_reward(client, PROMPTS, RESPONSES, own, ref, **options)

    assert found.kl.tolist() == [4.0] * 3
    assert np.abs(found.whitened).max() == 0.25
    assert found.reply.statistics.num_kl_clipped == 3
    logged = [record.getMessage() for record in caplog.records if record.name == "rm_client"]
    assert [line.split(":")[0] for line in logged] == ["biased_kl_gradient"]


def test_half_precision_comes_back_in_float32(client: RewardClient) -> None:
    own = torch.full((3, 2), -1.0, dtype=torch.bfloat16)
    found = ppo_reward(client, PROMPTS, RESPONSES, own, own, whiten="none")
    assert found.token_rewards.dtype == torch.float32


def test_plain_lists_do_and_no_mask_means_every_token(client: RewardClient) -> None:
    rows = [[-1.0, -2.0]] * 3
    found = ppo_reward(client, PROMPTS, RESPONSES, rows, rows, whiten="none")
    np.testing.assert_allclose(found.token_rewards[:, 0], 0.0)
    np.testing.assert_allclose(found.token_rewards[:, 1], logits(client), atol=1e-5)


async def test_the_async_form_gives_the_same(server_url: str, client: RewardClient) -> None:
    arguments = (PROMPTS, RESPONSES, *log_probabilities(), MASK)
    expected = ppo_reward(client, *arguments, whiten="none")
    async with AsyncRewardClient(server_url) as other:
        found = await ppo_reward_async(other, *arguments, whiten="none")
    np.testing.assert_allclose(found.token_rewards, expected.token_rewards, atol=1e-5)


def test_per_item_fields_reach_the_server(client: RewardClient) -> None:
    rows = np.full((3, 2), -1.0)
    fields = {
        "finished": torch.tensor([True, False, True]),
        "is_safety": np.array([False, True, False]),
        "id": ["a", "b", "c"],
    }
    found = ppo_reward(
        client,
        PROMPTS,
        RESPONSES,
        rows,
        rows,
        per_item=fields,
        whiten="none",
        missing_eos_penalty=0.5,
        stream="ppo-fields",
    )
    np.testing.assert_allclose(found.whitened - found.rewards, [0.0, 0.5, 0.0], atol=1e-6)
    assert [item.id for item in found.reply.items] == ["a", "b", "c"]  # type: ignore[union-attr]
    assert found.reply.items[1].selected == "safety"  # type: ignore[union-attr]


def with_one_failure(**options: Any) -> PpoRewards:
    rows = [[-1.0, -2.0]] * 2
    items = [shaped(0.5, [0.1, 0.4]), FAILED]
    with (
        scripted_server(reply(200, {"items": items, "statistics": STATISTICS})) as server,
        RewardClient(server.url) as scripted,
    ):
        return ppo_reward(scripted, ["p"] * 2, ["r"] * 2, rows, rows, **options)


def test_a_row_that_failed_is_an_exception_or_zero() -> None:
    with pytest.raises(ItemsFailed):
        with_one_failure()
    found = with_one_failure(on_failed="zero")
    np.testing.assert_allclose(found.token_rewards, [[0.1, 0.4], [0.0, 0.0]])
    assert found.failed.tolist() == [False, True]


def test_a_row_without_tokens_has_its_reward_and_no_token_rewards(client: RewardClient) -> None:
    rows = np.full((3, 2), -1.0)
    mask = np.array([[1, 1], [0, 0], [1, 0]])
    found = ppo_reward(client, PROMPTS, RESPONSES, rows, rows, mask, whiten="none")
    assert found.token_rewards[1].tolist() == [0.0, 0.0]
    assert found.rewards[1] == pytest.approx(logits(client)[1], abs=1e-5)


@pytest.mark.parametrize(
    ("own", "ref", "mask"),
    [
        (np.zeros((2, 4)), np.zeros((2, 4)), None),
        (np.zeros((3, 4)), np.zeros((3, 5)), None),
        (np.zeros((3, 4)), np.zeros((3, 4)), np.ones((3, 3))),
        (np.zeros((3,)), np.zeros((3,)), None),
        ([[0.0], [0.0], [0.0, 0.0]], [[0.0], [0.0], [0.0, 0.0]], None),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    client: RewardClient, own: Any, ref: Any, mask: Any
) -> None:
    with pytest.raises(InvalidRequest):
        ppo_reward(client, PROMPTS, RESPONSES, own, ref, mask)


def test_a_number_that_is_none_is_refused_where_it_counts(client: RewardClient) -> None:
    own = np.array([[-1.0, np.nan]] * 3)
    with pytest.raises(InvalidRequest, match="logprobs"):
        ppo_reward(client, PROMPTS, RESPONSES, own, np.zeros((3, 2)))
