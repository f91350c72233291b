"""KServe v2 with the tensors of NeMo-Aligner's reward server (reward_server.py)."""

import json
import struct

import pytest

from rm_core.types import TokenIds
from tests.service.dialects.tensors import INFER, binary, tensor, texts


async def test_health_follows_the_services_own(start):
    async with start() as service:
        paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/reward_model/ready")
        before = [(await service.client.get(path)).status_code for path in paths]
        service.state.draining = True
        after = [(await service.client.get(path)).status_code for path in paths]

    assert before == [200, 200, 200]
    assert after == [200, 503, 503]


@pytest.mark.parametrize(
    ("shape", "data"),
    [([2], ["s=5 h=1", "s=5 h=2"]), ([2, 1], [["s=5 h=1"], ["s=5 h=2"]])],
)
async def test_sentences_flat_or_nested_give_a_column_of_rewards(client, shape, data):
    body = {"id": "7", "inputs": [tensor("sentences", shape, data)]}

    reply = await client.post(INFER, json=body)

    assert reply.json() == {
        "model_name": "reward_model",
        "model_version": "1",
        "id": "7",
        "outputs": [{"name": "rewards", "datatype": "FP32", "shape": [2, 1], "data": [1.0, 2.0]}],
    }


async def test_prompts_and_responses_are_dialogues(client):
    body = {"inputs": [tensor("prompts", [1], ["p"]), tensor("responses", [1], ["s=5 h=6"])]}

    assert (await client.post(INFER, json=body)).json()["outputs"][0]["data"] == [6.0]


async def test_only_our_models_have_names(client):
    body = {"inputs": [tensor("sentences", [1], ["x"])]}

    assert (await client.post("/v2/models/other/infer", json=body)).status_code == 404
    assert (await client.get("/v2/models/other/ready")).status_code == 404


async def test_a_body_without_content_type_is_read(client):
    body = {"inputs": [tensor("sentences", [1], ["s=5 h=1"])]}
    for headers in ({}, {"Content-Type": "application/octet-stream"}):
        reply = await client.post(INFER, content=json.dumps(body).encode(), headers=headers)

        assert reply.json()["outputs"][0]["data"] == [1.0]


@pytest.mark.parametrize("wanted", ["by parameter", "by output", "not"])
async def test_texts_come_and_rewards_go_as_bytes(client, wanted):
    more: dict = {"id": "7"}
    if wanted == "by parameter":
        more["parameters"] = {"binary_data_output": True}
    elif wanted == "by output":
        more["outputs"] = [{"name": "rewards", "parameters": {"binary_data": True}}]
    body, headers = binary(
        ("sentences", "BYTES", [3], texts("s=5 h=1", "s=5 h=-2.5", "ünïcode s=5 h=3")), **more
    )

    reply = await client.post(INFER, content=body, headers=headers)

    if wanted == "not":
        assert reply.json()["outputs"][0]["data"] == [1.0, -2.5, 3.0]
        return
    length = int(reply.headers["inference-header-content-length"])
    head, data = json.loads(reply.content[:length]), reply.content[length:]
    assert struct.unpack("<3f", data) == (1.0, -2.5, 3.0)
    assert (head["id"], head["outputs"]) == (
        "7",
        [
            {
                "name": "rewards",
                "datatype": "FP32",
                "shape": [3, 1],
                "parameters": {"binary_data_size": 12},
            }
        ],
    )
    assert reply.headers["content-type"] == "application/octet-stream"


async def test_an_outputs_own_word_goes_before_that_of_all(client):
    body, headers = binary(
        ("sentences", "BYTES", [1], texts("s=5 h=1")),
        parameters={"binary_data_output": True},
        outputs=[{"name": "rewards", "parameters": {"binary_data": False}}],
    )

    reply = await client.post(INFER, content=body, headers=headers)

    assert reply.json()["outputs"][0]["data"] == [1.0]


@pytest.mark.parametrize(("datatype", "form"), [("INT64", "q"), ("INT32", "i"), ("UINT16", "H")])
async def test_padded_ids_come_as_bytes(client, scorer, datatype, form):
    ids, lengths = struct.pack(f"<6{form}", 65, 66, 0, 67, 0, 0), struct.pack(f"<2{form}", 2, 1)
    body, headers = binary(
        ("tokens", datatype, [2, 3], ids), ("sequence_lengths", datatype, [2, 1], lengths)
    )

    reply = await client.post(INFER, content=body, headers=headers)

    assert reply.status_code == 200
    assert [text for text, _ in scorer.asked] == [TokenIds((65, 66)), TokenIds((67,))]


async def test_every_refusal_says_its_error_as_tritonclient_reads_it(start):
    body = {"inputs": [tensor("sentences", [1], ["x"])]}
    async with start(api_keys=("key",), max_items=1, max_queue_items=1) as service:
        client = service.client
        refused = [await client.get("/v2"), await client.post(INFER, json=body)]
        client.headers["X-API-Key"] = "key"
        refused += [
            await client.get("/v2/models/other"),
            await client.get("/v2/repository"),
            await client.post(INFER, json={}),
            await client.post(INFER, content=b"{"),
            await client.post(INFER, json=body, headers={"Content-Encoding": "gzip"}),
            await client.get(INFER),
        ]
        service.state.draining = True
        refused.append(await client.get("/v2/health/ready"))

    assert [one.status_code for one in refused] == [401, 401, 404, 404, 422, 400, 415, 405, 503]
    for one in refused:
        assert one.json()["error"] == one.json()["detail"]


@pytest.mark.parametrize(("name", "reward"), [("safety", 0.5), ("helpfulness", 2.0)])
async def test_a_models_name_chooses_the_reward(client, name, reward):
    body = {"inputs": [tensor("sentences", [1], ["s=0.5 h=2"])]}

    reply = (await client.post(f"/v2/models/{name}/infer", json=body)).json()

    assert (reply["model_name"], reply["outputs"][0]["data"]) == (name, [reward])
