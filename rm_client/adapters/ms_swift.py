"""A reward function for ms-swift's GRPO, registered by a plugin of two lines.

    from swift.rewards import orms
    from rm_client.adapters.ms_swift import Rewardd

    orms["rewardd"] = Rewardd

and then `--external_plugins plugin.py --reward_funcs rewardd`, with RM_CLIENT_URL set.
"""

from collections.abc import Sequence
from typing import Any

from rm_client.adapters.environment import environment_config, failed_reward
from rm_client.adapters.sample_reward import SampleReward
from rm_client.adapters.samples import Reading, entry_of, score
from rm_client.errors import InvalidRequest

_PLAIN = Reading()  # messages go through the reward model's own template


class Rewardd:
    """An outcome reward model by ms-swift's contract; the process keeps one client.

    Args:
        args: the trainer's; not used.
        **_: what else ms-swift hands to reward functions.
    """

    def __init__(self, args: Any = None, **_: Any) -> None:
        del args

    def __call__(
        self,
        completions: Sequence[str],
        messages: Sequence[Sequence[Any]] | None = None,
        is_safety: Sequence[Any] | None = None,
        **columns: Any,  # noqa: ARG002 (ms-swift hands over every column)
    ) -> list[float]:
        """The selected reward of each completion.

        Args:
            completions: the responses.
            messages: each sample's whole chat, which ends with its completion.
            is_safety: the dataset's column of that name.
            **columns: not used.

        Raises:
            InvalidRequest: completions and messages differ in number, or there is no address.
            ItemsFailed: a sample can't be scored, and RM_CLIENT_FAILED_REWARD is not set:
                ms-swift would count None as 0.
            RewardClientError: the server gives no answer.
        """
        chats = list(messages or ())
        if len(chats) != len(completions):
            raise InvalidRequest(f"{len(completions)} completions came with {len(chats)} messages")
        flags = is_safety if is_safety is not None else [False] * len(chats)
        entries = [
            entry_of(list(chat)[:-1], completion, _PLAIN, is_safety=flag)
            for chat, completion, flag in zip(chats, completions, flags, strict=True)
        ]
        stand_in = failed_reward()
        results = score(environment_config(), entries, _PLAIN)
        return [SampleReward.of(result, failed_reward=stand_in).reward for result in results]
