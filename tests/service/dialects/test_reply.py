"""What a contract has no room for stands in a header, on every dialect alike."""

from pathlib import Path

import httpx
import pytest

from rm_core.types import Encoded, EncodedItem, RewardInput, Truncation
from tests.service.dialects.bodies import TONGUES, Tongue
from tests.service.scripted import ScriptedScorer, serving


class Outspoken(ScriptedScorer):
    """Warns of a text what stands in it."""

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        item = super().encode(dialogue, truncate=truncate)
        said = bytes(item.by_model["safety"].input_ids).decode()
        names = ("truncated", "response_truncated", "missing_eos")
        warnings = tuple(name for name in names if name in said.split())
        return EncodedItem(
            {
                name: Encoded(one.input_ids, one.read_position, None, warnings)
                for name, one in item.by_model.items()
            }
        )


@pytest.mark.parametrize("tongue", TONGUES, ids=lambda tongue: tongue.name)
async def test_every_dialect_tells_what_happened_to_a_text(tmp_path: Path, tongue: Tongue) -> None:
    async with serving(tmp_path, Outspoken()) as client:
        plain = await client.post(tongue.path, json=tongue.body("said s=5 h=1"))
        cut = await client.post(tongue.path, json=tongue.body("said truncated missing_eos h=1"))
        metrics = (await client.get("/metrics")).text

    assert "X-Rewardd-Warnings" not in plain.headers
    assert cut.headers["X-Rewardd-Warnings"] == "truncated;count=1, missing_eos;count=1"
    assert 'rm_sequences_truncated_total{side="prompt"} 1.0' in metrics
    assert 'rm_sequence_warnings_total{warning="missing_eos"} 1.0' in metrics


async def test_the_header_counts_the_requests_texts(tmp_path: Path) -> None:
    texts = ["truncated a", "truncated response_truncated b", " ", "c", "truncated d"]
    async with serving(tmp_path, Outspoken(), dialect_fallback_reward=-9.0) as client:
        reply = await client.post("/get_reward", json={"query": texts})
        metrics = (await client.get("/metrics")).text

    told = "truncated;count=3, response_truncated;count=1, failed;count=1"
    assert reply.headers["X-Rewardd-Warnings"] == told
    assert reply.json()["extra_logs"]["response_truncated"] == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert 'rm_sequences_truncated_total{side="response"} 1.0' in metrics
    assert 'rm_sequences_truncated_total{side="prompt"} 2.0' in metrics


async def test_the_header_is_in_the_apis_documentation(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    for tongue in TONGUES:
        path = tongue.path.partition("?")[0].replace("reward_model", "{name}")
        replied = paths[path]["post"]["responses"]["200"]
        assert "X-Rewardd-Warnings" in replied["headers"], path
