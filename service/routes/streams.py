"""GET, PUT, DELETE /streams: so that a trainer keeps the statistics with its own checkpoint."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from rm_client.models_ppo import StreamReply, StreamSnapshot, StreamsReply
from rm_core.rewards import Statistics
from service.http.body import read_json, validate
from service.http.openapi import COMMON_PROBLEMS, problems, request_body
from service.problems import Problem, json_reply
from service.state import AppState, get_state
from service.streams.service import state_problems
from service.streams.stream_table import STREAM_NAME_PATTERN, Stream, is_name

router = APIRouter(tags=["streams"])
changes = APIRouter(tags=["streams"])
"""Routes that change streams."""

State = Annotated[AppState, Depends(get_state)]
Name = Annotated[
    str, Path(description="The stream's name.", json_schema_extra={"pattern": STREAM_NAME_PATTERN})
]
_EXAMPLES: dict[str, dict[str, Any]] = {
    "restore": {
        "summary": "Restore the statistics that a trainer kept with its checkpoint",
        "value": {"count": 4096, "mean": 0.31, "std": 1.7},
    },
    "freeze": {"summary": "Keep the statistics as they are", "value": {"frozen": True}},
}
_BAD_NAME = problems(s422="The name is not one that a stream can have.")
_NOT_FOUND = problems(s404="There is no stream of that name.") | _BAD_NAME
_BAD_SNAPSHOT = COMMON_PROBLEMS | problems(s422="The name or the snapshot is wrong.")


@router.get(
    "/streams",
    summary="Every stream",
    response_model=None,
    responses={200: {"model": StreamsReply}},
)
async def list_streams(state: State) -> Response:
    """All streams, by name."""
    with state_problems():
        found = await state.streams.store.get_all()
    return json_reply({"streams": [stream_json(stream) for stream in found]})


@router.get(
    "/streams/{name}",
    summary="Read a stream",
    response_model=None,
    responses={200: {"model": StreamReply}, **_NOT_FOUND},
)
async def read_stream(name: Name, state: State) -> Response:
    """One stream; the reply can be sent back with PUT to restore it."""
    _require_name(name)
    with state_problems():
        return json_reply(stream_json(await state.streams.store.get(name)))


@changes.put(
    "/streams/{name}",
    summary="Create, restore or configure a stream",
    response_model=None,
    responses={200: {"model": StreamReply}, **_BAD_SNAPSHOT},
    openapi_extra={"requestBody": request_body(StreamSnapshot, _EXAMPLES)},
)
async def restore_stream(name: Name, request: Request, state: State) -> Response:
    """Set the statistics to a snapshot; the same snapshot again changes nothing.

    Restoring other statistics begins a new generation: item ids and idempotency keys from before
    are forgotten, since a trainer that resumes from a checkpoint sends them again. Without
    statistics only `half_life` and `frozen` are set.
    """
    _require_name(name)
    body = await read_json(request, state.bodies)
    snapshot = validate(StreamSnapshot, body)
    with state_problems():
        stream = await state.streams.store.put(
            name,
            statistics=statistics_of_snapshot(snapshot),
            half_life=snapshot.half_life,
            frozen=snapshot.frozen,
        )
    state.streams.metrics.stream(stream)
    return json_reply(stream_json(stream))


@changes.delete(
    "/streams/{name}",
    summary="Reset a stream",
    response_model=None,
    responses={
        200: {"model": StreamReply},
        204: {"description": "Deleted altogether (forget=true)."},
        **_NOT_FOUND,
    },
)
async def reset_stream(
    name: Name,
    state: State,
    forget: Annotated[
        bool, Query(description="Delete the stream altogether, its generation included.")
    ] = False,
) -> Response:
    """Set the stream back to its start (the checkpoints' baseline, or nothing): generation + 1.

    Its configuration stays; the item ids and idempotency keys that it counted are forgotten.
    """
    _require_name(name)
    with state_problems():
        if forget:
            await state.streams.store.forget(name)
            state.streams.metrics.forgotten_stream(name)
            return Response(status_code=204)
        stream = await state.streams.store.reset(name, state.version.initial)
    state.streams.metrics.stream(stream)
    return json_reply(stream_json(stream))


def stream_json(stream: Stream) -> dict[str, Any]:
    """A stream as it travels."""
    fields = asdict(stream)
    for internal in ("statistics", "id", "num_ids"):
        del fields[internal]
    name, statistics = fields.pop("name"), stream.statistics
    return {"name": name} | statistics._asdict() | {"std": statistics.std} | fields


def statistics_of_snapshot(snapshot: StreamSnapshot) -> Statistics | None:
    """The snapshot's statistics; None where it has none."""
    if snapshot.count is None or snapshot.mean is None:
        return None
    if snapshot.count == 0.0:
        return Statistics()
    degrees = snapshot.degrees_of_freedom
    m2 = snapshot.m2
    if m2 is None:
        std = snapshot.std if snapshot.std is not None else 0.0
        m2 = std * std * (max(snapshot.count - 1.0, 0.0) if degrees is None else degrees)
    return Statistics(snapshot.count, snapshot.mean, m2, degrees)


def _require_name(name: str) -> None:
    if not is_name(name):
        raise Problem(
            422,
            "invalid_stream_name",
            "A stream's name has 1 to 64 characters out of A-Z, a-z, 0-9, dot, underscore, hyphen.",
        )
