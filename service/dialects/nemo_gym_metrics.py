"""NeMo-Gym's aggregate metrics: mean, max, min, median and deviation of a run's rewards.

What its RewardProfiler gives of the same rollouts (nemo_gym/reward_profile.py): every number of a
rollout is a column, also those of its `usage`; a column is described over the whole run and over
each task. A truth value counts as 0 or 1. Deviations are the sample's (n − 1); one rollout alone
has 0.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

TASK = "_ng_task_index"
ROLLOUT = "_ng_rollout_index"
FAILURE = "_ng_failure_class"

Row = dict[str, float]


def aggregate_metrics(rollouts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of a run.

    Args:
        rollouts: replies of /verify, whose tasks and rollouts are numbered; those that failed are
            left out, as NeMo-Gym does.

    Returns:
        `group_level_metrics` (one entry a task), `agent_metrics` (all), `key_metrics` (the means).
    """
    tasks: dict[int, list[Mapping[str, Any]]] = {}
    for rollout in rollouts:
        if rollout.get(FAILURE) is None:
            tasks.setdefault(rollout.get(TASK, 0), []).append(rollout)
    groups = [_group(task, tasks[task]) for task in sorted(tasks)]
    overall = _described([_numbers(one) for group in tasks.values() for one in group])
    means = {name: value for name, value in overall.items() if name.startswith("mean/")}
    return {"group_level_metrics": groups, "agent_metrics": overall, "key_metrics": means}


def _group(task: int, rollouts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    infos = [
        {"rollout_id": f"{task}:{index}", TASK: task, ROLLOUT: index, **_numbers(rollout)}
        for rollout in rollouts
        for index in (rollout.get(ROLLOUT, 0),)
    ]
    return {
        TASK: task,
        **_described([_numbers(rollout) for rollout in rollouts]),
        "sample": {"agent_ref": {"name": "agent"}},
        "num_rollouts": len(rollouts),
        "expected_num_rollouts": len(rollouts),
        "missing_num_rollouts": 0,
        "reward_profile_completion_pct": 100.0,
        "rollout_infos": sorted(infos, key=lambda info: info[ROLLOUT]),
    }


def _numbers(rollout: Mapping[str, Any]) -> Row:
    """The rollout's columns: its own numbers, then those of its usage."""
    response = rollout.get("response")
    usage = response.get("usage") if isinstance(response, Mapping) else None
    found: Row = {}
    for part in (rollout, usage if isinstance(usage, Mapping) else {}):
        for name, value in part.items():
            if isinstance(value, int | float) and name not in (TASK, ROLLOUT):
                found[name] = int(value) if isinstance(value, bool) else value
    return found


def _described(rows: Sequence[Row]) -> dict[str, float]:
    columns = {name: [row[name] for row in rows if name in row] for row in rows for name in row}
    measures: dict[str, Callable[[list[float]], float]] = {
        "mean": statistics.fmean,
        "max": max,
        "min": min,
        "median": statistics.median,
        "std": lambda values: statistics.stdev(values) if len(values) > 1 else 0.0,
    }
    return {
        f"{measure}/{name}": of(values)
        for measure, of in measures.items()
        for name, values in columns.items()
        if measure != "std" or len(values) > 1 or len(rows) == 1
    }
