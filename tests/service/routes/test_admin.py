"""/admin: refusals are problems that say what to do next; nothing is loaded without a root."""

import pytest


async def test_without_a_loader_and_a_root_nothing_is_replaced(start) -> None:
    async with start(safety_model="one") as service:
        status = (await service.client.get("/admin/models")).json()
        reply = await service.client.put("/admin/models/safety", json={"model": "two"})

    assert set(status["models"]) == {"safety", "helpfulness"}
    assert (status["swap"], status["last"]) == (None, None)
    assert (reply.status_code, reply.json()["code"]) == (409, "model_root_not_set")
    assert "model_root" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("role", "body", "status", "code"),
    [
        ("absent", {"model": "two"}, 404, "unknown_model"),
        ("safety", {}, 422, "invalid_request"),
        ("safety", {"model": "two", "roll_back": True}, 422, "invalid_request"),
        ("safety", {"roll_back": True}, 409, "nothing_to_roll_back"),
        ("safety", {"model": "../two"}, 422, "invalid_model_name"),
        ("safety", {"model": "two", "unknown": 1}, 422, None),
        ("safety", {"model": "two", "shadow_items": 10**6}, 422, None),
    ],
)
async def test_what_cannot_be_asked_for_is_a_problem(
    start, tmp_path, role, body, status, code
) -> None:
    (tmp_path / "two").mkdir()
    async with start(safety_model="one", model_root=tmp_path) as service:
        reply = await service.client.put(f"/admin/models/{role}", json=body)

    assert reply.status_code == status
    assert code is None or reply.json()["code"] == code


async def test_a_key_without_the_scope_replaces_nothing(start, tmp_path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("scorer scopes=score\nkeeper scopes=admin\n")
    async with start(api_keys_file=keys, safety_model="one") as service:
        replies = [
            await service.client.put(
                "/admin/models/safety", json={"model": "two"}, headers={"X-API-Key": key}
            )
            for key in ("scorer", "keeper", "stranger")
        ]

    assert [reply.status_code for reply in replies] == [403, 409, 401]
