import httpx
from structlog.testing import capture_logs

from tests.service.routes.ppo_calls import post
from tests.service.scripted import response_item


async def test_k2_and_k3_in_the_reward_are_warned_of_once_for_each_stream(
    client: httpx.AsyncClient,
) -> None:
    item = response_item(2.0, logprobs=[-1.0], ref_logprobs=[-1.5])
    unpenalised = response_item(2.0)

    async def warnings(*items: object, stream: str, estimator: str, beta: float = 0.1) -> object:
        reply = await post(client, *items, stream=stream, kl_estimator=estimator, beta=beta)
        return reply.json()["statistics"]["warnings"]

    with capture_logs() as logs:
        told = [
            await warnings(item, stream="a", estimator="k1"),
            await warnings(unpenalised, stream="a", estimator="k3"),
            await warnings(item, stream="a", estimator="k3", beta=0.0),
            await warnings(item, stream="a", estimator="k3"),
            await warnings(item, stream="a", estimator="k3"),
            await warnings(item, stream="a", estimator="k2"),
            await warnings(item, stream="b", estimator="k2"),
        ]

    assert told == [[], [], [], ["biased_kl_gradient"], [], [], ["biased_kl_gradient"]]
    logged = [event for event in logs if event["event"] == "biased_kl_gradient"]
    assert [(event["stream"], event["kl_estimator"]) for event in logged] == [
        ("a", "k3"),
        ("b", "k2"),
    ]
    assert logged[0]["log_level"] == "warning"


async def test_the_warning_of_an_estimator_comes_again_with_the_reply_that_had_it(
    client: httpx.AsyncClient,
) -> None:
    item = response_item(2.0, logprobs=[-1.0], ref_logprobs=[-1.5])

    first = await post(client, item, kl_estimator="k3", key="step")
    replayed = await post(client, item, kl_estimator="k3", key="step")

    assert replayed.content == first.content
    assert first.json()["statistics"]["warnings"] == ["biased_kl_gradient"]
