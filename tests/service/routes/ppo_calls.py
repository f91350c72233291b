"""How the tests of /ppo_reward call it."""

from typing import Any

import httpx


async def post(client: httpx.AsyncClient, *items: Any, key: str | None = None, **more: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/ppo_reward", json={"items": items, **more}, headers=headers)


async def count_of(client: httpx.AsyncClient, stream: str = "default") -> int:
    reply = await client.get(f"/streams/{stream}")
    return int(reply.json()["num_samples"]) if reply.status_code == 200 else 0
