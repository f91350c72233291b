"""Bytes after the JSON of a request that fit neither it nor their tensors."""

import json

import pytest

from tests.service.dialects.tensors import INFER, binary, texts

ONE = texts("s=5 h=1")


@pytest.mark.parametrize(
    ("tensors", "length", "status", "pointer"),
    [
        ([("sentences", "BYTES", [1], ONE[:-1])], None, 422, "/inputs/0"),
        ([("sentences", "BYTES", [1], b"\x01\x00")], None, 422, "/inputs/0"),
        ([("sentences", "BYTES", [1], b"\x01\x00\x00\x00\xff")], None, 422, "/inputs/0"),
        ([("sentences", "BYTES", [2], ONE)], None, 422, "/inputs/0/shape"),
        ([("sentences", "BF16", [1], b"12")], None, 422, "/inputs/0/datatype"),
        ([("tokens", "INT64", [1], b"123")], None, 422, "/inputs/0"),
        ([("sentences", "BYTES", [1], ONE)], "x", 400, None),
        ([("sentences", "BYTES", [1], ONE)], "99999", 400, None),
        ([("sentences", "BYTES", [1], ONE)], "3", 400, ""),
    ],
)
async def test_bytes_that_do_not_fit_are_refused(client, tensors, length, status, pointer):
    body, headers = binary(*tensors)
    if length is not None:
        headers["Inference-Header-Content-Length"] = length

    reply = await client.post(INFER, content=body, headers=headers)

    assert reply.status_code == status
    if pointer is not None:
        assert reply.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"parameters": {"binary_data_size": 99}}, "/inputs/0/parameters/binary_data_size"),
        ({"parameters": {"binary_data_size": -1}}, "/inputs/0/parameters/binary_data_size"),
        ({"parameters": {"binary_data_size": "11"}}, "/inputs/0/parameters/binary_data_size"),
        ({"data": ["x"]}, "/inputs/0/parameters/binary_data_size"),
        ({"parameters": {"binary_data_size": 3}}, "/inputs/0"),
        ({"parameters": {}}, "/inputs"),
    ],
)
async def test_sizes_that_do_not_fit_are_refused(client, change, pointer):
    one = {"name": "sentences", "datatype": "BYTES", "shape": [1]}
    sized = {**one, "parameters": {"binary_data_size": len(ONE)}, **change}
    head = json.dumps({"inputs": [sized]}).encode()

    reply = await client.post(
        INFER,
        content=head + ONE,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )

    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)
