"""The wire of /admin/models: replacing a model while the service goes on."""

from typing import Annotated, Literal

from pydantic import Field

from rm_client.models_base import Received, Sent

SwapOutcome = Literal["switched", "dry_run", "unchanged", "failed"]
SwapStage = Literal["loading", "shadow_scoring", "draining"]


class SwapRequest(Sent):
    """The body of PUT /admin/models/{role}."""

    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="The checkpoint's directory, relative to `model_root`; `#LABEL` behind it for "
        "one label. Leave it out with `roll_back`.",
    )
    roll_back: bool = Field(
        default=False, description="Load what served under this name before it was last replaced."
    )
    dry_run: bool = Field(
        default=False, description="Load, check and compare, but go on with the present model."
    )
    shadow_items: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=64,
        description="How many of the latest responses that callers send meanwhile are scored by "
        "the new model as well, for the report; their texts are kept in memory until then.",
    )
    shadow_seconds: Annotated[float, Field(ge=0.0, le=600.0)] = Field(
        default=5.0,
        description="How long to wait for that many once the checkpoint is loaded; fewer do then.",
    )
    min_order_agreement: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None,
        description="Go on with the present model if a smaller share of pairs of responses stays "
        "in its order, or if there was no pair.",
    )
    wait: bool = Field(
        default=True,
        description="Answer when it is done; false answers 202 at once, and GET /admin/models "
        "tells the rest.",
    )


class ModelAgreement(Received):
    """How two versions' calibrated rewards of the same responses agree; None: can't be told.

    `order_agreement` is the share of pairs that stay in order (a new tie counts half), of those
    that the old version had an order for.
    """

    order_agreement: float | None
    num_pairs: int
    correlation: float | None
    mean_before: float
    mean_after: float
    std_before: float
    std_after: float
    max_difference: float


class SwapAgreement(Received):
    """What shadow scoring found, by model, and for the reward that the rule selects."""

    num_items: int
    num_failed: int
    models: dict[str, ModelAgreement]
    selected: ModelAgreement | None
    same_selection: float | None


class SwapError(Received):
    """Why a swap was given up; the former models serve on."""

    code: str
    detail: str


class SwapReport(Received):
    """What became of a swap.

    `before` and `after` are digests by model; `streams` names those whose statistics are of the
    models that were replaced, which is also said in `warnings` of their replies until they are
    reset.
    """

    outcome: SwapOutcome
    model: str
    source: str
    before: dict[str, str]
    after: dict[str, str] | None
    agreement: SwapAgreement | None
    load_seconds: float | None
    total_seconds: float
    streams: list[str]
    error: SwapError | None


class SwapUnderWay(Received):
    """A swap that is not over."""

    model: str
    source: str
    stage: SwapStage
    seconds: float


class ServedModel(Received):
    """A model that serves: where it came from, and the sha256 of its weights."""

    name: str
    digest: str
    can_roll_back: bool


class ModelsStatus(Received):
    """The reply of GET /admin/models."""

    models: dict[str, ServedModel]
    provenance: str
    swap: SwapUnderWay | None
    last: SwapReport | None
