import json
import math

import pytest

from service.problems import json_reply


def test_numbers_survive_the_wire_to_the_last_bit() -> None:
    values = [0.1, -3.0000000000000004, 1e-308, 5e-324, 1.7976931348623157e308, -0.0]

    read = json.loads(bytes(json_reply(values).body))

    assert [value.hex() for value in read] == [value.hex() for value in values]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_reply_holds_a_number_that_strict_json_does_not_know(value: float) -> None:
    assert bytes(json_reply({"reward": value}).body) == b'{"reward":null}'


def test_the_status_and_the_media_type_are_set() -> None:
    reply = json_reply([], status=422)

    assert (reply.status_code, reply.media_type) == (422, "application/json")
