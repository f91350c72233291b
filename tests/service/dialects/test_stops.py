"""`?stop=` and REWARDD_DIALECT_STOP: the policy's stop tokens off every dialect's texts."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from rm_core.engine import load_engine
from service.settings import Settings
from tests.models import make_tokenizer, save_checkpoint
from tests.service.dialects.bodies import TONGUES, Tongue
from tests.service.scripted import serving

PROMPT, RESPONSE = "Is 27 prime?", "No: 27 = 3 × 9."
RENDERED = f"<s><user>{PROMPT}</s><assistant>{RESPONSE}"
STOP = "<|im_end|>"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("rm")
    return save_checkpoint(where, tokenizer=make_tokenizer(chat=True, add_bos=True))


@pytest.fixture(params=[(), (STOP,)], ids=["query", "setting"])
async def client(
    request: pytest.FixtureRequest, checkpoint: Path, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    engine = load_engine({"helpfulness": str(checkpoint)}, device="cpu")
    async with serving(tmp_path, engine, dialect_stop=request.param) as client:
        if not request.param:
            client.params = client.params.add("stop", STOP).add("stop", "<|eot_id|>")
        yield client


async def asked(client: httpx.AsyncClient, tongue: Tongue, text: str, path: str = "") -> float:
    path = path or tongue.path
    params = client.params.merge(httpx.QueryParams(path.partition("?")[2]))
    body = tongue.body(text)
    if tongue.put_prompt is not None:  # a chat's last turn is the response alone
        body = tongue.body(RESPONSE + text.removeprefix(RENDERED))
        tongue.put_prompt(body, [{"role": "user", "content": PROMPT}])
    reply = await client.post(path.partition("?")[0], json=body, params=params)
    assert reply.status_code == 200, (tongue.name, reply.text)
    return tongue.read(reply.json())


async def test_a_foreign_stop_at_a_texts_end_changes_no_number(client: httpx.AsyncClient) -> None:
    plain = {"prompt": PROMPT, "response": RESPONSE}
    expected = (await client.post("/score", json=plain)).json()["selected_reward"]

    found = {
        (tongue.name, end): await asked(client, tongue, RENDERED + end)
        for tongue in TONGUES
        for end in (STOP, STOP + "\n")
    }
    dialogue = {"prompt": PROMPT, "response": RESPONSE + STOP}
    found["slime", "dialogue"] = (await client.post("/rm", json=dialogue)).json()

    assert found == pytest.approx(dict.fromkeys(found, expected), abs=1e-5)


async def test_an_empty_parameter_takes_none_off(client: httpx.AsyncClient) -> None:
    openrlhf = TONGUES[0]
    with_stop = await asked(client, openrlhf, RENDERED + STOP)

    client.params = httpx.QueryParams({"stop": ""})
    as_it_stands = await asked(client, openrlhf, RENDERED + STOP)

    assert abs(with_stop - as_it_stands) > 1e-3


@pytest.mark.parametrize("query", ["stop=" + "x" * 65, "&".join(["stop=x"] * 17)])
async def test_stops_are_bounded(client: httpx.AsyncClient, query: str) -> None:
    client.params = httpx.QueryParams()
    reply = await client.post(f"/rm?{query}", json={"prompt": "p", "response": "r"})

    assert reply.status_code == 422
    assert reply.json()["code"] == "invalid_parameter"


def test_the_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDD_DIALECT_STOP", "<|im_end|>,<|eot_id|>")

    assert Settings.load().dialect_stop == ("<|im_end|>", "<|eot_id|>")
