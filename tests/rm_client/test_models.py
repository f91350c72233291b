"""The client's models against the server's own OpenAPI document."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from rm_client import models, models_ppo
from service.app import create_app
from service.settings import Settings
from tests.fakes import FakeScorer

SENT = [
    models.ChatMessage,
    models.ResponseItem,
    models.StepsItem,
    models.GroupItem,
    models.MessagesItem,
    models.CompareItem,
    models.ScoreRequest,
    models.CompareRequest,
    models_ppo.BaselineOptions,
    models_ppo.ExpectVersion,
    models_ppo.WhitenOptions,
    models_ppo.PpoResponseItem,
    models_ppo.PpoMessagesItem,
    models_ppo.PpoRequest,
    models_ppo.StreamSnapshot,
]
RECEIVED = [
    models.TokenRewardsReply,
    models.StepRewardsReply,
    models.RewardReply,
    models.ErrorReply,
    models.FailedReply,
    models.ResponseReply,
    models.GroupReply,
    models.ScoreReply,
    models.RankingReply,
    models.ComparisonReply,
    models.CompareReply,
    models.ProblemItemReply,
    models.ProblemReply,
    models_ppo.PpoItemReply,
    models_ppo.GroupStatistics,
    models_ppo.StatisticsReply,
    models_ppo.PpoReply,
    models_ppo.StreamReply,
    models_ppo.StreamsReply,
]
# A client must not fail because a newer server warns of something new.
OPEN_ENUMERATIONS = {("ResponseReply", "warnings")}
_WORDS = frozenset({"title", "description", "examples", "example", "discriminator"})


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"))
    return create_app(settings, FakeScorer()).openapi()


def plain(schema: Any) -> Any:
    """A schema without words for people; other models by name, for they have their own case."""
    if isinstance(schema, list):
        return sorted((plain(entry) for entry in schema), key=json.dumps)
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"model": schema["$ref"].rpartition("/")[2]}
    found = {name: plain(value) for name, value in schema.items() if name not in _WORDS}
    if found.get("default", "") is None:
        del found["default"]  # FastAPI leaves it out of replies; absent and null are one here
    alternatives = found.pop("oneOf", None) or found.pop("anyOf", None)
    if alternatives is not None:
        # Alternatives within alternatives are alternatives.
        inner = [one["anyOf"] if set(one) == {"anyOf"} else [one] for one in alternatives]
        found["anyOf"] = sorted((one for own in inner for one in own), key=json.dumps)
    return dict(sorted(found.items()))


@pytest.mark.parametrize("model", SENT + RECEIVED, ids=lambda model: model.__name__)
def test_a_model_has_the_servers_fields_types_and_requiredness(
    model: type[BaseModel], document: dict[str, Any]
) -> None:
    name = model.__name__
    bodies = {
        content["schema"]["title"]: content["schema"]
        for path in document["paths"].values()
        for operation in path.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if "title" in content["schema"]
    }
    theirs = {**bodies, **document["components"]["schemas"]}[name]
    ours = model.model_json_schema(mode="validation")
    expected, found = theirs["properties"], ours["properties"]
    assert set(found) == set(expected)
    for field, schema in found.items():
        wanted = plain(expected[field])
        if (name, field) in OPEN_ENUMERATIONS:
            wanted["items"] = {"type": "string"}
        assert plain(schema) == wanted, field
    assert set(ours.get("required", ())) == set(theirs.get("required", ()))


def named_in(value: Any, schemas: dict[str, Any]) -> set[str]:
    """Every model that a part of the document refers to, directly or not."""
    if isinstance(value, list):
        return set().union(*(named_in(entry, schemas) for entry in value))
    if not isinstance(value, dict):
        return set()
    found = set().union(*(named_in(entry, schemas) for entry in value.values()))
    reference = value.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        found |= {name} | named_in(schemas.get(name, {}), schemas)
    return found


def test_every_model_of_the_clients_routes_is_here(document: dict[str, Any]) -> None:
    routes = ("/score", "/compare", "/ppo_reward", "/streams", "/streams/{name}")
    known = {model.__name__ for model in SENT + RECEIVED}
    used = named_in([document["paths"][r] for r in routes], document["components"]["schemas"])
    assert len(used) > 20
    assert used <= known


@pytest.mark.parametrize("model", SENT, ids=lambda model: model.__name__)
def test_what_is_sent_takes_no_unknown_field(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        model.model_validate({"no_such_field": 1})


def test_what_comes_back_may_have_more_fields() -> None:
    reply = models.RewardReply.model_validate({"reward": 1.0, "score": 0.7, "new": [1]})
    assert reply == models.RewardReply(reward=1.0, score=0.7)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", '"0.5"', "null"])
def test_a_number_that_is_none_is_no_reward(number: str) -> None:
    with pytest.raises(ValidationError):
        models.RewardReply.model_validate_json(f'{{"reward": {number}, "score": "NaN"}}')


def test_an_error_about_a_text_does_not_show_it() -> None:
    with pytest.raises(ValidationError) as caught:
        models.ResponseItem.model_validate({"prompt": "p", "response": "secret \ud800"})
    assert "secret" not in str(caught.value)


def test_a_streams_snapshot_restores_exactly_what_it_was() -> None:
    reply = models_ppo.StreamReply(
        name="s",
        count=4.0,
        mean=0.1,
        m2=1 / 3,
        std=1 / 3,
        num_samples=4,
        version=3,
        generation=0,
        half_life=100.0,
        frozen=True,
        created=1.0,
        updated=2.0,
    )
    kept = reply.snapshot().model_dump(exclude_none=True)
    assert kept == {"count": 4.0, "mean": 0.1, "m2": 1 / 3, "half_life": 100.0, "frozen": True}
