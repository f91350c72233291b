"""Inference requests of KServe v2, in JSON and in bytes."""

import json
import struct
from typing import Any

INFER = "/v2/models/reward_model/infer"


def tensor(name: str, shape: list[int], data: list[Any], datatype: str = "BYTES") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def binary(*tensors: tuple[str, str, list[int], bytes], **more: object) -> tuple[bytes, dict]:
    """A request whose tensors stand after the JSON, and its headers."""
    inputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": shape,
            "parameters": {"binary_data_size": len(data)},
        }
        for name, datatype, shape, data in tensors
    ]
    head = json.dumps({"inputs": inputs, **more}).encode()
    body = head + b"".join(data for *_, data in tensors)
    return body, {"Inference-Header-Content-Length": str(len(head))}


def texts(*values: str) -> bytes:
    encoded = (value.encode() for value in values)
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)
