"""The thin client of rewardd: httpx and pydantic, nothing else.

    from rm_client import RewardClient

    with RewardClient("http://localhost:8000") as client:
        reply = client.score(
            [{"prompt": "Is 27 prime?", "response": "No: 27 = 3 × 9."}], on_item_error="raise"
        )
        print(reply.items[0].selected_reward)

`rm_client.adapters` holds one module per trainer.
"""

from importlib.metadata import PackageNotFoundError, version

from rm_client.async_client import AsyncRewardClient
from rm_client.client import RewardClient
from rm_client.config import ClientConfig
from rm_client.errors import (
    ConnectionFailed,
    InvalidReply,
    InvalidRequest,
    ItemsFailed,
    NotAuthorized,
    NotFound,
    Overloaded,
    RequestRefused,
    RewardClientError,
    ServiceUnavailable,
    TimedOut,
)
from rm_client.models import (
    CompareItem,
    CompareReply,
    ComparisonReply,
    ErrorReply,
    FailedReply,
    GroupItem,
    GroupReply,
    MessagesItem,
    ResponseItem,
    ResponseReply,
    RewardReply,
    ScoreReply,
    StepRewardsReply,
    StepsItem,
    TokenRewardsReply,
)
from rm_client.models_base import ChatMessage
from rm_client.models_info import Info, ModelInfo
from rm_client.models_ppo import (
    BaselineOptions,
    ExpectVersion,
    PpoItemReply,
    PpoMessagesItem,
    PpoReply,
    PpoResponseItem,
    StatisticsReply,
    StreamReply,
    StreamSnapshot,
    WhitenOptions,
)
from rm_client.retry import RetryPolicy

try:
    __version__ = version("rewardd-client")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "not installed"

__all__ = [
    "AsyncRewardClient",
    "BaselineOptions",
    "ChatMessage",
    "ClientConfig",
    "CompareItem",
    "CompareReply",
    "ComparisonReply",
    "ConnectionFailed",
    "ErrorReply",
    "ExpectVersion",
    "FailedReply",
    "GroupItem",
    "GroupReply",
    "Info",
    "InvalidReply",
    "InvalidRequest",
    "ItemsFailed",
    "MessagesItem",
    "ModelInfo",
    "NotAuthorized",
    "NotFound",
    "Overloaded",
    "PpoItemReply",
    "PpoMessagesItem",
    "PpoReply",
    "PpoResponseItem",
    "RequestRefused",
    "ResponseItem",
    "ResponseReply",
    "RetryPolicy",
    "RewardClient",
    "RewardClientError",
    "RewardReply",
    "ScoreReply",
    "ServiceUnavailable",
    "StatisticsReply",
    "StepRewardsReply",
    "StepsItem",
    "StreamReply",
    "StreamSnapshot",
    "TimedOut",
    "TokenRewardsReply",
    "WhitenOptions",
]
