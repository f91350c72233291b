"""Refusing to answer by other models or statistics than the caller believes to be there."""

from collections.abc import Mapping

from rm_client.models_ppo import ExpectVersion
from rm_core.types import ROLES, ModelName, ModelProfile, Role
from service.problems import Problem, ProblemItem
from service.streams.stream_table import Stream


def require_models(
    expected: ExpectVersion | None, profiles: Mapping[ModelName, ModelProfile]
) -> None:
    """Compare the expected digests with those of the loaded models.

    Raises:
        Problem: 412, one differs or its model isn't loaded.
    """
    if expected is None:
        return
    wanted = {"safety": expected.safety, "helpfulness": expected.helpfulness}
    wrong = [
        role
        for role in ROLES
        if (digest := wanted[role]) is not None
        and (role not in profiles or not profiles[role].digest.startswith(digest))
    ]
    if wrong:
        raise _mismatch(wrong, f"The {' and '.join(wrong)} weights are not those expected")


def require_selection(profiles: Mapping[ModelName, ModelProfile]) -> None:
    """Refuse what needs a selected reward where neither model that can be selected is loaded.

    Raises:
        Problem: 422, so it is.
    """
    if not any(role in profiles for role in ROLES):
        raise Problem(
            422,
            "nothing_selected",
            "This needs the reward that the rule selects between safety and helpfulness, and "
            f"neither model is loaded. POST /score gives those of {', '.join(profiles)}.",
        )


def require_stream(expected: ExpectVersion | None, stream: Stream | None) -> None:
    """Compare the expected version and generation with the stream's.

    Args:
        expected: by the caller.
        stream: before this request; None: the request uses none.

    Raises:
        Problem: 412, they differ.
    """
    if expected is None:
        return
    there = {
        "stream": None if stream is None else stream.version,
        "generation": None if stream is None else stream.generation,
    }
    wanted = {"stream": expected.stream, "generation": expected.generation}
    wrong = [name for name, value in wanted.items() if value is not None and value != there[name]]
    if wrong:
        is_now = ", ".join(f"{name} {there[name]}" for name in wrong)
        raise _mismatch(wrong, f"The statistics are not those expected, but at {is_now}")


def _mismatch(fields: list[str] | list[Role], what: str) -> Problem:
    detail = f"{what}; nothing was counted. See GET /v1/info and GET /streams."
    return Problem(
        412,
        "version_mismatch",
        detail,
        errors=[
            ProblemItem(f"/expect_version/{field}", "version_mismatch", what) for field in fields
        ],
    )
