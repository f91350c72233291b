"""Whose request it is: every scoring route tells the queue, whichever way the key came."""

import hashlib

import pytest

ITEM = {"prompt": "p", "response": "r"}
LINES = b'{"prompt": "p", "response": "r"}\n'
CALLS = [
    ("/score", {"json": {"items": [ITEM]}}),
    ("/score", {"content": LINES, "headers": {"Content-Type": "application/x-ndjson"}}),
    ("/compare", {"json": {"prompt": "p", "responses": ["a", "b"]}}),
    ("/ppo_reward", {"json": {"items": [ITEM]}}),
    ("/rm", {"json": ITEM}),
]


def watch(service):
    """The callers whose texts the scheduler gets from now on."""
    seen = []
    score = service.state.scheduler.score

    async def watched(dialogues, submission, **options):
        seen.append(submission.caller)
        return await score(dialogues, submission, **options)

    service.state.scheduler.score = watched
    return seen


@pytest.mark.parametrize(("path", "call"), CALLS)
async def test_the_queue_knows_a_caller_by_its_key_and_none_without_keys(start, path, call):
    digest = hashlib.sha256(b"mine").digest()
    async with start(api_keys=("other", "mine"), cache_per_key=False) as service:
        seen = watch(service)
        for key in ({"X-API-Key": "mine"}, {"Authorization": "Bearer mine"}):
            headers = {**call.get("headers", {}), **key}
            reply = await service.client.post(path, **{**call, "headers": headers})
            assert reply.status_code == 200, reply.text
        assert set(seen) == {digest}
    async with start() as service:
        seen = watch(service)
        assert (await service.client.post(path, **call)).status_code == 200
        assert set(seen) == {b""}
