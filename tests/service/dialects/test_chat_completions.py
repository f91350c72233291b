"""A reward in an assistant's message, as `swift deploy` and NVIDIA's NIM answer."""

import math

from rm_core.types import Dialogue, Message

PATHS = ("/v1/chat/completions", "/nim/v1/chat/completions")


def chat(text: str, **more: object) -> dict:
    asked = {"role": "user", "content": "q"}
    return {"messages": [asked, {"role": "assistant", "content": text}], **more}


async def test_the_message_is_the_number_to_its_last_bit(client):
    reward = math.nextafter(0.1, 1.0)

    reply = (await client.post(PATHS[0], json=chat(f"s=5 h={reward!r}"))).json()

    (choice,) = reply["choices"]
    assert float(choice["message"]["content"]) == reward
    assert (choice["message"]["role"], choice["logprobs"]) == ("assistant", None)
    assert reply["object"] == "chat.completion"


async def test_nims_clients_find_the_number_in_the_message_and_in_the_logprobs(client):
    reply = (await client.post(PATHS[1], json=chat("s=5 h=-18.75"))).json()

    (choice,) = reply["choices"]
    assert choice["message"]["content"] == "reward:-18.75"
    scores = {entry["token"]: entry["logprob"] for entry in choice["logprobs"]["content"]}
    assert scores == {"reward": -18.75}


async def test_how_one_would_sample_is_ignored_and_a_models_name_heard(client):
    body = chat("s=-3 h=2", temperature=0.7, max_tokens=1, n=1, stream=False, model="helpfulness")

    reply = (await client.post(PATHS[0], json=body)).json()

    assert reply["choices"][0]["message"]["content"] == "2.0"
    assert reply["model"] == "helpfulness"


async def test_the_last_turn_is_judged_in_the_light_of_those_before(client, scorer):
    await client.post(PATHS[0], json=chat("a"))

    expected = Dialogue((Message("user", "q"),), "a", allow_empty=True)
    assert [text for text, _ in scorer.asked] == [expected]
