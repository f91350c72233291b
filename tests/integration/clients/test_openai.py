"""OpenAI's own client, as installed: what vLLM's examples and NIM's and ms-swift's users write."""

import asyncio

import openai
import pytest

from tests.integration.clients.conftest import KEY, PROMPT, RESPONSES, TEXTS


@pytest.fixture
def client(server_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server_url}/v1", api_key=KEY, max_retries=0)


def messages(response: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": response}]


def test_an_example_begins_with_the_models_and_sends_the_first_name_back(client, rewards):
    listed = list(client.models.list())
    model = listed[0].id
    assert [card.id for card in listed] == ["rewardd", "helpfulness"]
    assert client.models.retrieve(model).id == model

    for more in ({}, {"encoding_format": "float"}):  # base64 unless told otherwise
        reply = client.embeddings.create(model=model, input=TEXTS, **more)
        found = [entry.embedding[0] for entry in reply.data]
        assert found == pytest.approx(rewards, abs=1e-5)


def test_a_chat_is_answered_with_its_reward(client, rewards):
    for response, reward in zip(RESPONSES, rewards, strict=True):
        reply = client.chat.completions.create(model="rm", messages=messages(response))
        content = reply.choices[0].message.content
        assert float(content) == pytest.approx(reward, abs=1e-5)


def test_nims_users_split_the_message_or_read_the_logprobs(server_url, rewards):
    nim = openai.OpenAI(base_url=f"{server_url}/nim/v1", api_key=KEY)

    reply = nim.chat.completions.create(model="m", messages=messages(RESPONSES[0]))

    pairs = [pair.split(":") for pair in reply.choices[0].message.content.split(",")]
    by_content = {name: float(value) for name, value in pairs}
    by_logprobs = {entry.token: entry.logprob for entry in reply.choices[0].logprobs.content}
    assert by_content == by_logprobs
    assert by_content == pytest.approx({"reward": rewards[0]}, abs=1e-5)


def test_refusals_are_exceptions(client, server_url):
    with pytest.raises(openai.UnprocessableEntityError, match="assistant turn"):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.UnprocessableEntityError, match="not streamed"):
        client.chat.completions.create(model="m", messages=messages("x"), stream=True)
    with pytest.raises(openai.UnprocessableEntityError):
        client.embeddings.create(model="m", input=[""])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server_url}/v1", api_key="wrong").models.list()


async def test_two_hundred_at_once_wait_for_room(server_url, rewards):
    async with openai.AsyncOpenAI(
        base_url=f"{server_url}/v1", api_key=KEY, max_retries=0
    ) as client:

        async def one(index: int) -> float:
            reply = await client.embeddings.create(
                model="rewardd", input=TEXTS[index % 2], encoding_format="float"
            )
            return reply.data[0].embedding[0]

        found = await asyncio.gather(*map(one, range(200)))
    assert found == pytest.approx(rewards * 100, abs=1e-5)
