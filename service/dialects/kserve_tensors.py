"""The binary tensor extension of KServe v2: tensors as bytes after the JSON, both ways.

The header `Inference-Header-Content-Length` says how long the JSON is. A tensor after it names its
size (`binary_data_size`) in place of `data`; elements are little-endian and row-major, those of
BYTES each a 4-byte length and that many bytes. See Triton's protocol extension "binary tensor
data".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from service.dialects.base import bad_request
from service.http.body import parse_json
from service.problems import Problem

LENGTH_HEADER = "Inference-Header-Content-Length"
MEDIA_TYPE = "application/octet-stream"

_TYPES = {
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP32": "<f4",
    "FP64": "<f8",
}
_LENGTH_BYTES = 4


def read_request(raw: bytes, header_length: str | None) -> Any:
    """An inference request's JSON, its binary tensors put in as `data`.

    Args:
        raw: the body.
        header_length: what `Inference-Header-Content-Length` says; None: the body is JSON alone.

    Raises:
        Problem: 400 or 422, the parts don't fit together.
    """
    if header_length is None:
        return parse_json(raw)
    if not (header_length.isascii() and header_length.isdigit()):
        raise Problem(400, "invalid_length", f"{LENGTH_HEADER} must be a number of bytes.")
    length = int(header_length[:20])
    if length > len(raw):
        raise Problem(400, "invalid_length", f"{LENGTH_HEADER} is more than the body has.")
    body = parse_json(raw[:length])
    rest = memoryview(raw)[length:]
    tensors = body.get("inputs") if isinstance(body, dict) else None
    for index, tensor in enumerate(tensors if isinstance(tensors, list) else []):
        size = _binary_size(tensor, index)
        if size is None:
            continue
        if size > len(rest):
            raise bad_request(
                f"/inputs/{index}/parameters/binary_data_size", "The body has fewer bytes left."
            )
        tensor["data"] = _decoded(rest[:size], tensor.get("datatype"), f"/inputs/{index}")
        rest = rest[size:]
    if len(rest):
        raise bad_request("/inputs", "There are more bytes after the JSON than the tensors have.")
    return body


def write_reply(header: Mapping[str, Any], tensor: Sequence[float]) -> tuple[bytes, int]:
    """A reply whose one output comes after the JSON as FP32.

    Args:
        header: the reply's JSON but for `outputs[0]`'s size, which is put in.
        tensor: the values.

    Returns:
        The body, and how many of its bytes are the JSON.
    """
    data = np.asarray(tensor, dtype=_TYPES["FP32"]).tobytes()
    (output,) = header["outputs"]
    sized = {**output, "parameters": {"binary_data_size": len(data)}}
    json = orjson.dumps({**header, "outputs": [sized]})
    return json + data, len(json)


def _binary_size(tensor: Any, index: int) -> int | None:
    parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
    if not isinstance(parameters, dict) or "binary_data_size" not in parameters:
        return None
    size = parameters["binary_data_size"]
    pointer = f"/inputs/{index}/parameters/binary_data_size"
    if type(size) is not int or size < 0:
        raise bad_request(pointer, "The size must be a number of bytes.")
    if "data" in tensor:
        raise bad_request(pointer, "A tensor comes as data or after the JSON, not both.")
    return size


def _decoded(data: memoryview, datatype: Any, pointer: str) -> list[Any]:
    if datatype == "BYTES":
        return _texts(data, pointer)
    kind = _TYPES.get(datatype) if isinstance(datatype, str) else None
    if kind is None:
        raise bad_request(
            f"{pointer}/datatype", f"Of binary tensors BYTES, {', '.join(_TYPES)} are read."
        )
    if len(data) % np.dtype(kind).itemsize:
        raise bad_request(pointer, "The number of bytes does not fit the datatype.")
    values: list[Any] = np.frombuffer(data, dtype=kind).tolist()
    return values


def _texts(data: memoryview, pointer: str) -> list[str]:
    found = []
    at = 0
    while at < len(data):
        end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "little")
        if at + _LENGTH_BYTES > len(data) or end > len(data):
            raise bad_request(pointer, "An element is longer than the bytes that are left.")
        try:
            found.append(str(data[at + _LENGTH_BYTES : end], "utf-8"))
        except UnicodeDecodeError:
            detail = f"Element {len(found)} is not UTF-8; texts must be."
            raise bad_request(pointer, detail) from None
        at = end
    return found
