"""NeMo-Gym's aggregate metrics, the figures derived by hand."""

import math

import pytest

# What NeMo-Gym's own compute_aggregate_metrics gives of these rollouts.
ROLLOUTS = [
    {"_ng_task_index": 1, "_ng_rollout_index": 0, "reward": 4.0, "finished": True},
    {"_ng_task_index": 0, "_ng_rollout_index": 1, "reward": -1.0, "finished": False},
    {
        "_ng_task_index": 0,
        "_ng_rollout_index": 0,
        "reward": 2.0,
        "finished": True,
        "response": {"usage": {"output_tokens": 7, "output_tokens_details": {"reasoning": 1}}},
        "note": "n",
    },
]


async def test_a_run_is_aggregated_as_nemo_gym_does_it(client):
    failed = {"_ng_task_index": 2, "reward": -99.0, "_ng_failure_class": "judge_failed"}
    reply = await client.post("/aggregate_metrics", json={"verify_responses": [*ROLLOUTS, failed]})
    found = reply.json()

    overall = found["agent_metrics"]
    assert overall["mean/reward"] == pytest.approx(5 / 3)
    assert overall["std/reward"] == pytest.approx(math.sqrt(19 / 3))
    assert (overall["min/reward"], overall["max/reward"], overall["median/reward"]) == (-1, 4, 2)
    assert overall["mean/output_tokens"] == 7
    assert "std/output_tokens" not in overall
    assert found["key_metrics"] == {k: v for k, v in overall.items() if k.startswith("mean/")}
    first, second = found["group_level_metrics"]
    assert (first["_ng_task_index"], first["mean/reward"], first["num_rollouts"]) == (0, 0.5, 2)
    assert first["mean/finished"] == 0.5
    assert [info["rollout_id"] for info in first["rollout_infos"]] == ["0:0", "0:1"]
    assert (second["std/reward"], second["reward_profile_completion_pct"]) == (0.0, 100.0)


@pytest.mark.parametrize(
    ("rollouts", "pointer"),
    [
        ([{"reward": 1.0}, {"reward": 2.0}], "/verify_responses/1"),
        ([{"reward": 1.0, "_ng_task_index": "0"}], "/verify_responses/0"),
        ([{"reward": 1e308}, {"reward": 1e308, "_ng_task_index": 1}], "/verify_responses"),
        (3, "/verify_responses"),
    ],
)
async def test_rollouts_that_cannot_be_aggregated_are_refused(client, rollouts, pointer):
    reply = await client.post("/aggregate_metrics", json={"verify_responses": rollouts})

    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_nothing_to_aggregate_is_nothing(client):
    reply = await client.post("/aggregate_metrics", json={"verify_responses": []})

    assert reply.json() == {"group_level_metrics": [], "agent_metrics": {}, "key_metrics": {}}
