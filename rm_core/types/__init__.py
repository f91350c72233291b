"""The values that travel between the parts: dialogues in, token ids between, rewards out.

Frozen and free of torch, so that any part may import them.
"""

from rm_core.types.caches import CacheStats, EngineCacheStats
from rm_core.types.names import ROLES, AttentionChoice, DType, ModelName, Role
from rm_core.types.profiles import (
    Baseline,
    CalibrationFit,
    ModelProfile,
    ReferenceQuantiles,
    SafetyThreshold,
)
from rm_core.types.scorer import ItemRewards, Scorer
from rm_core.types.texts import (
    Dialogue,
    Encoded,
    EncodedItem,
    Message,
    ReadAt,
    ReadPosition,
    RenderedText,
    RewardInput,
    TextWarning,
    TokenIds,
    Truncation,
)

__all__ = [
    "ROLES",
    "AttentionChoice",
    "Baseline",
    "CacheStats",
    "CalibrationFit",
    "DType",
    "Dialogue",
    "Encoded",
    "EncodedItem",
    "EngineCacheStats",
    "ItemRewards",
    "Message",
    "ModelName",
    "ModelProfile",
    "ReadAt",
    "ReadPosition",
    "ReferenceQuantiles",
    "RenderedText",
    "RewardInput",
    "Role",
    "SafetyThreshold",
    "Scorer",
    "TextWarning",
    "TokenIds",
    "Truncation",
]
