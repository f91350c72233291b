"""What /v1/info answers, for type checkers; it is passed on as it came, further fields included."""

from typing import Any, NotRequired, TypedDict


class ServiceInfo(TypedDict):
    """Who answers."""

    name: str
    version: str


class ModelInfo(TypedDict):
    """A loaded model.

    `digest` is the sha256 of its weights and `template_hash` that of its chat template (hex);
    calibrated reward = reward / `temperature` + `bias`; the rest says how these were found and
    what rewards are usual, None where nobody said.
    """

    name: str
    digest: str
    template_hash: str | None
    max_length: int
    temperature: float
    bias: float
    baseline: dict[str, Any] | None
    calibration: dict[str, Any] | None
    baseline_source: str | None
    reference_quantiles: dict[str, Any] | None


class SelectionInfo(TypedDict):
    """The rule between the models: its threshold on the score, whose it is, and on the reward."""

    tau: float
    tau_source: str
    rule: str
    tau_raw: NotRequired[float]
    checkpoint_threshold: NotRequired[dict[str, Any] | None]


class CacheInfo(TypedDict):
    """One of the engine's caches: what it holds, its bound (0: off), and its counts since loading.

    `entries` are runs of tokens of which keys and values are kept, or texts whose rewards are;
    `hits` are texts of which something was found, and `hit_tokens` what of them was not computed.
    """

    num_bytes: int
    max_bytes: int
    entries: int
    tokens: int
    lookups: int
    hits: int
    lookup_tokens: int
    hit_tokens: int
    evictions: int


class CachesInfo(TypedDict):
    """Both caches, and whether callers of different API keys are kept apart in them."""

    prefixes: CacheInfo
    rewards: CacheInfo
    per_key: bool


class Info(TypedDict):
    """Models by name ("safety", "helpfulness"), how they are run, the rule, and the limits."""

    service: ServiceInfo
    models: dict[str, ModelInfo]
    engine: dict[str, Any]
    selection: SelectionInfo
    caches: CachesInfo
    dialects: dict[str, Any]
    limits: dict[str, Any]
