"""Replies as a server would write them."""

from typing import Any

ITEM = {"prompt": "Is 27 prime?", "response": "No: 27 = 3 × 9."}


def scored(reward: float = 0.5, **more: Any) -> dict[str, Any]:
    """One response's result."""
    return {
        "safety": {"reward": 1.0, "score": 0.73},
        "helpfulness": {"reward": reward, "score": 0.62},
        "selected": "helpfulness",
        "selected_reward": reward,
        "num_tokens": 9,
        "warnings": [],
        **more,
    }


FAILED = {"error": {"code": "empty_text", "detail": "Send a text.", "pointer": "/items/0/response"}}


def shaped(reward: float = 0.5, tokens: list[float] | None = None, **more: Any) -> dict[str, Any]:
    """One response's result of /ppo_reward."""
    return {
        "id": None,
        "selected": "helpfulness",
        "helpfulness": {"reward": reward, "score": 0.62},
        "logit": reward,
        "whitened": reward,
        "kl": None if tokens is None else 0.0,
        "penalty": 0.0,
        "missing_eos_penalty": 0.0,
        "reward": reward,
        "token_rewards": tokens,
        "num_tokens": 9,
        "warnings": [],
        **more,
    }


STATISTICS = {
    "mode": "running",
    "stream": "default",
    "count": 2.0,
    "mean": 0.1,
    "std": 1.0,
    "version": 1,
    "generation": 0,
    "scaled": True,
    "num_merged": 1,
    "num_duplicates": 0,
}


def problem(status: int, code: str, **more: Any) -> dict[str, Any]:
    """A problem document."""
    return {
        "type": f"urn:rewardd:problem:{code}",
        "title": "Trouble",
        "status": status,
        "code": code,
        "detail": "Do otherwise.",
        **more,
    }
