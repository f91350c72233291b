"""Each dialect is on by default, can be switched off, and is shown."""

from typing import get_args

import pytest

from rm_core.errors import ConfigurationError
from service.dialects.registry import DIALECTS
from service.settings import DialectName, Settings
from tests.service.dialects.bodies import TONGUES
from tests.service.scripted import serving


async def test_every_dialect_is_on_by_default_and_listed(client):
    shown = (await client.get("/v1/info")).json()["dialects"]

    assert set(shown["paths"]) == set(get_args(DialectName))
    assert shown["paths"]["vllm"] == ["/classify", "/pooling"]
    assert (shown["reward"], shown["stream"]) == ("selected", "default")
    for tongue in TONGUES:
        assert (await client.post(tongue.path, json=tongue.body("s=5 h=1 xx"))).status_code == 200


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name + d.path)
async def test_what_is_switched_off_is_not_there(tmp_path, dialect):
    others = {one.name for one in DIALECTS if one.path == dialect.path} - {dialect.name}
    async with serving(tmp_path, disabled_dialects=(dialect.name,)) as client:
        reply = await client.post(
            dialect.path.replace("{name}", "reward_model"), json=dict(dialect.example)
        )
        shown = (await client.get("/v1/info")).json()["dialects"]["paths"]

    assert reply.status_code == (422 if others else 404)
    assert dialect.name not in shown


def test_names_are_separated_by_commas_in_the_environment(monkeypatch):
    monkeypatch.setenv("REWARDD_DISABLED_DIALECTS", "slime, vllm")
    assert Settings.load().disabled_dialects == ("slime", "vllm")

    monkeypatch.setenv("REWARDD_DISABLED_DIALECTS", "slim")
    with pytest.raises(ConfigurationError, match="disabled_dialects"):
        Settings.load()
