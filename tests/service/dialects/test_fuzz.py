"""Whatever a body holds, a dialect answers it or says what is wrong; nothing breaks inside."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from service.dialects.handler import Dialect
from service.dialects.registry import DIALECTS
from tests.service.scripted import serving

TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(categories=["Cs", "Ll"]), max_size=8),  # lone surrogates among letters
    st.sampled_from(["s=5 h=1", "h=inf", "h=nan", "h=1e999", " ", "", "<s>", "\x00"]),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
KEYS = st.sampled_from(["role", "content", "text", "type", "name", "shape", "data", "output"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)
QUERIES = st.sampled_from(["", "?reward=whitened", "?rendered=1", "?detail=1", "?reward=safety"])
PATIENCE_SECONDS = 60.0
# One path of those that read a body alike.
READERS = {dialect.read: dialect for dialect in reversed(DIALECTS)}.values()


def mutated(example: Any) -> st.SearchStrategy[Any]:
    """The example with other values anywhere in it."""
    if isinstance(example, dict):
        parts = {key: mutated(value) for key, value in example.items()}
        return st.one_of(
            st.fixed_dictionaries(parts), st.fixed_dictionaries({}, optional=parts), VALUES
        )
    if isinstance(example, list) and example:
        return st.one_of(st.lists(mutated(example[0]), max_size=4), VALUES)
    return st.one_of(st.just(example), SCALARS)


async def _ask_all(state: Path, path: str, asked: list[tuple[str, Any]]) -> None:
    async with serving(state) as client:
        for query, body in asked:
            content = json.dumps(body).encode()  # as Python's clients do: NaN and surrogates too
            async with asyncio.timeout(PATIENCE_SECONDS):
                reply = await client.post(
                    path + query, content=content, headers={"Content-Type": "application/json"}
                )
            assert reply.status_code < 500, (path, body, reply.text)
            reply.json()
            if reply.status_code != 200:
                assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("dialect", READERS, ids=lambda dialect: dialect.name + dialect.path)
def test_no_body_breaks_a_dialect(dialect: Dialect, tmp_path_factory: pytest.TempPathFactory):
    path = dialect.path.replace("{name}", "reward_model")
    example = dict(dialect.example)

    # Many bodies for one app: starting it costs far more than asking it, and so would shrinking.
    @settings(max_examples=3, deadline=None, database=None, phases=(Phase.explicit, Phase.generate))
    @given(
        st.lists(
            st.tuples(
                QUERIES,
                st.one_of(mutated(example), st.fixed_dictionaries(dict.fromkeys(example, VALUES))),
            ),
            min_size=30,
            max_size=50,
        )
    )
    def check(asked: list[tuple[str, Any]]) -> None:
        asyncio.run(_ask_all(tmp_path_factory.mktemp("state"), path, asked))

    check()
