"""The problem documents of refusals, RFC 9457."""

from pydantic import Field

from rm_client.models_base import Received


class ProblemItemReply(Received):
    """One thing that is wrong, and where."""

    pointer: str = Field(examples=["/items/3/response"])
    code: str = Field(examples=["missing_field"])
    detail: str


class ProblemReply(Received):
    """RFC 9457 problem document."""

    type: str = Field(examples=["urn:rewardd:problem:invalid_items"])
    title: str
    status: int
    code: str
    detail: str
    errors: list[ProblemItemReply] | None = None
    errors_left_out: int | None = None
