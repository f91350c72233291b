"""What tritonclient and PyTriton ask of a server before they send it anything."""

import pytest

from tests.service.dialects.tensors import tensor


@pytest.mark.parametrize("version", ["", "/versions/1"])
async def test_a_model_tells_its_tensors_and_its_configuration(start, version):
    async with start(max_items=9) as service:
        path = f"/v2/models/reward_model{version}"
        server = (await service.client.get("/v2")).json()
        metadata = (await service.client.get(path)).json()
        config = (await service.client.get(f"{path}/config")).json()
        ready = await service.client.get(f"{path}/ready")
        body = {"inputs": [tensor("sentences", [1], ["x"])]}
        answer = await service.client.post(f"{path}/infer", json=body)

    assert "binary_tensor_data" in server["extensions"]
    assert (metadata["name"], metadata["versions"]) == ("reward_model", ["1"])
    assert {one["name"]: one["datatype"] for one in metadata["inputs"]} == {
        "sentences": "BYTES",
        "tokens": "INT64",
        "sequence_lengths": "INT64",
        "prompts": "BYTES",
        "responses": "BYTES",
    }
    assert metadata["outputs"] == [{"name": "rewards", "datatype": "FP32", "shape": [-1, 1]}]
    assert (config["max_batch_size"], config["output"][0]["data_type"]) == (9, "TYPE_FP32")
    assert all(one["optional"] for one in config["input"])
    assert (ready.status_code, answer.status_code) == (200, 200)


async def test_another_version_is_not_there(client):
    assert (await client.get("/v2/models/rewardd/versions/2")).status_code == 404
