"""Every dialect, and the routes of those that are switched on."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from rm_core.errors import ConfigurationError
from rm_core.types import ModelName
from service.dialects import (
    align_anything,
    chat_completions,
    infinity,
    kserve,
    kserve_models,
    llama_factory,
    nemo_gym,
    openrlhf,
    paddlenlp,
    rerank,
    sglang,
    slime,
    tei,
    vllm,
)
from service.dialects.handler import Dialect, answer_dialect
from service.dialects.reply import WARNINGS_HEADER
from service.http.openapi import COMMON_PROBLEMS, TIMEOUT_PARAMETER, body_schema, problems
from service.problems import Problem
from service.settings import RewardKind, Settings, model_of_kind, reward_kinds
from service.state import AppState, get_state
from service.streams.idempotency import KEY_HEADER, REPLAYED_HEADER
from service.streams.stream_table import STREAM_NAME_PATTERN

# Where several share a path the first whose keys a body has answers, else the last.
DIALECTS: tuple[Dialect, ...] = (
    align_anything.DIALECT,
    openrlhf.DIALECT,
    slime.DIALECT,
    llama_factory.DIALECT,
    sglang.DIALECT,
    infinity.DIALECT,
    vllm.CLASSIFY,
    vllm.POOLING,
    vllm.EMBEDDINGS,
    rerank.RERANK,
    rerank.RERANK_V1,
    rerank.PAIRS,
    tei.DIALECT,
    chat_completions.SWIFT,
    chat_completions.NIM,
    paddlenlp.DIALECT,
    nemo_gym.DIALECT,
    kserve.DIALECT,
    kserve.VERSIONED,
)

_OPENAI_PATHS = frozenset(
    dialect.path
    for dialect in DIALECTS
    if dialect.name in ("vllm", "embeddings", "rerank", "swift", "nim")
) | {"/v1/models"}

# What a dialect's clients ask beside the scoring itself.
_ROUTERS: Mapping[str, APIRouter] = {
    infinity.DIALECT.name: infinity.router,
    nemo_gym.DIALECT.name: nemo_gym.router,
    kserve.DIALECT.name: kserve_models.router,
}

_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "reward",
        "in": "query",
        "description": "Which number is returned, calibrated, or with raw_ in front the model's "
        "own; by default what REWARDD_DIALECT_REWARD says.",
        "schema": {"enum": list(reward_kinds(()))},
    },
    {
        "name": "stream",
        "in": "query",
        "description": "Whose statistics whiten it, if it is whitened.",
        "schema": {"type": "string", "pattern": STREAM_NAME_PATTERN},
    },
    {
        "name": "rendered",
        "in": "query",
        "description": "1: text prompts that come apart from their responses have been through a "
        "chat template; the responses are appended as they stand.",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "name": "stop",
        "in": "query",
        "description": "A stop token of the policy, taken off the texts' ends; the reward model's "
        "own end of a turn takes its place. May be given several times; by default what "
        "REWARDD_DIALECT_STOP says.",
        "schema": {"type": "array", "items": {"type": "string"}},
    },
    {
        "name": KEY_HEADER,
        "in": "header",
        "description": "For reward=whitened: the same key, address and body again give the same "
        "bytes back and count once; another body is refused (422). Remembered for a day.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    },
    TIMEOUT_PARAMETER,
]


def enabled(settings: Settings) -> list[Dialect]:
    """The dialects that are switched on."""
    return [one for one in DIALECTS if one.name not in settings.disabled_dialects]


def paths(settings: Settings) -> list[str]:
    """The paths that they answer, each once."""
    return list(dict.fromkeys(dialect.path for dialect in enabled(settings)))


def describe(settings: Settings) -> dict[str, Any]:
    """The dialects for /v1/info."""
    on = enabled(settings)
    names = dict.fromkeys(dialect.name for dialect in on)
    return {
        "paths": {name: [one.path for one in on if one.name == name] for name in names},
        "reward": settings.dialect_reward,
        "stream": settings.dialect_stream,
        "stop": list(settings.dialect_stop),
        "fallback_reward": settings.dialect_fallback_reward,
    }


def require_reward(settings: Settings, loaded: Sequence[ModelName]) -> None:
    """Refuse a setting that names a model that isn't loaded.

    Raises:
        ConfigurationError: so it is.
    """
    wanted = model_of_kind(settings.dialect_reward)
    if wanted is not None and wanted not in loaded:
        raise ConfigurationError(
            f"dialect_reward is {settings.dialect_reward}, but no {wanted} model is loaded; load "
            "one or set it to selected"
        )


def dialect_router(settings: Settings) -> APIRouter:
    """The routes of the dialects that are switched on."""
    router = APIRouter(tags=["dialects"])
    on = enabled(settings)
    for path in paths(settings):
        parameters = _parameters(reward_kinds(settings.models))
        _mount(router, path, [dialect for dialect in on if dialect.path == path], parameters)
    for name in dict.fromkeys(dialect.name for dialect in on):
        if name in _ROUTERS:
            router.include_router(_ROUTERS[name])
    return router


def refusal_members(path: str, problem: Problem) -> Mapping[str, Any]:
    """What a path's clients look for in a refusal, beside the problem's own members.

    Args:
        path: that was asked for.
        problem: the refusal.
    """
    if path == "/v2" or path.startswith("/v2/"):  # tritonclient raises what stands here
        return {"error": problem.detail}
    if path in _OPENAI_PATHS:  # whose clients show nothing else of a refusal
        said = {"message": problem.detail, "type": problem.code, "code": problem.status}
        return {"error": said}
    if path == paddlenlp.DIALECT.path:
        return {"error_code": problem.status, "error_msg": problem.detail}
    return {}


def _parameters(kinds: Sequence[RewardKind]) -> list[dict[str, Any]]:
    """What an address may say, with the kinds of reward that there are."""
    reward, *others = _PARAMETERS
    return [{**reward, "schema": {"enum": list(kinds)}}, *others]


def _mount(
    router: APIRouter,
    path: str,
    dialects: Sequence[Dialect],
    parameters: Sequence[Mapping[str, Any]],
) -> None:
    async def answer(request: Request, state: Annotated[AppState, Depends(get_state)]) -> Response:
        return await answer_dialect(request, state, dialects)

    named = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    router.add_api_route(
        path,
        answer,
        methods=["POST"],
        name=dialects[-1].name + path.replace("/", "_"),
        summary=dialects[-1].summary,
        description=_DESCRIPTION,
        response_model=None,
        responses={200: _REPLY, **COMMON_PROBLEMS, **_NO_SUCH_MODEL},
        openapi_extra={
            "parameters": [*(named if "{name}" in path else []), *parameters],
            "requestBody": _body(dialects),
        },
    )


_DESCRIPTION = (
    "The contract of another project's clients; docs/guides/dialects.md says which. Texts wait for "
    "room a little less long than the clients do, or as long as X-Request-Timeout-Ms says; then it "
    "is 503 with Retry-After. A text that is too long loses its left, the prompt's first."
)
_REPLY: dict[str, Any] = {
    "description": "As the clients expect it.",
    "headers": {
        WARNINGS_HEADER: {
            "description": "What happened to the texts, as an RFC 9651 list: each warning of "
            "/score's replies with the number of texts (`truncated;count=2, missing_eos;count=1`), "
            "and `failed` for those that have the fallback reward. Absent where nothing did.",
            "schema": {"type": "string"},
        },
        REPLAYED_HEADER: {
            "description": "true: a whitened request's reply, sent again and not counted again.",
            "schema": {"type": "string"},
        },
    },
}


_NO_SUCH_MODEL = problems(s404="The address or the body names a model that isn't loaded.")


def _body(dialects: Sequence[Dialect]) -> Mapping[str, Any]:
    union = reduce(or_, (dialect.body for dialect in dialects))
    schema = body_schema(union)
    examples = {dialect.name: {"value": dict(dialect.example)} for dialect in dialects}
    content: dict[str, Any] = {"application/json": {"schema": schema, "examples": examples}}
    if any(dialect.parse is not None for dialect in dialects):  # JSON, and bytes after it
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {"required": True, "content": content}
