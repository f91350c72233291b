"""The packed way gives the padded way's rewards, shared prefixes or not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.checkpoint.heads import ScalarHeads
from rm_core.checkpoint.load import load_reward_model
from rm_core.engine.forward.base import Forward
from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.forward.packed import PackedForward, fastest_packed, reading_order
from rm_core.engine.packing.plan import Pack, plan_pack
from rm_core.types import Encoded, ReadPosition
from tests.models import make_model, save_checkpoint


def encoded(rows: list[list[int]]) -> list[Encoded]:
    return [Encoded(tuple(row), len(row) - 1) for row in rows]


def test_a_text_is_read_where_its_encoding_says(tmp_path: Path) -> None:
    loaded = load_reward_model(str(save_checkpoint(tmp_path)), "safety")
    row = tuple(range(20, 60))

    for way in (BatchedForward, PackedForward):
        early, cut = way(loaded.model, reason="").rewards([Encoded(row, 10), Encoded(row[:11], 10)])
        assert early[0] == pytest.approx(cut[0], abs=1e-6)


@pytest.mark.parametrize("way", [fastest_packed, partial(BatchedForward, reason="")])
def test_equal_texts_are_one_row_of_the_head_so_that_rounding_by_row_keeps_them_equal(
    way: Callable[[Any], Forward], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = encoded([[*range(40), 50], [7, 8, 9], [*range(40), 50], [7, 8, 9]])
    texts[2] = replace(
        texts[2], extra_positions=(ReadPosition(3, 0, 0, ""), ReadPosition(40, 0, 0, ""))
    )
    forward = way(load_reward_model(str(save_checkpoint(tmp_path)), "safety").model)
    exact = ScalarHeads.evaluate
    monkeypatch.setattr(
        ScalarHeads,
        "evaluate",
        lambda self, hidden: exact(self, hidden) + torch.arange(len(hidden))[:, None],
    )

    first, second, *third, fourth = forward.rewards(texts)

    assert third[0] == third[2] == first
    assert third[1] != third[0]
    assert second == fourth


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_states_are_what_transformers_trunk_gives_at_each_read_of_each_text(
    architecture: str, tmp_path: Path
) -> None:
    model = load_reward_model(str(save_checkpoint(tmp_path, architecture)), "safety").model
    rows = [[*range(40), 50], [*range(40), 51, 52, 53], [7, 8, 9], [*range(40), 50]]
    reads = [[40], [3, 41, 42], [0, 2], [12, 40]]
    with torch.inference_mode():
        alone = [model.base_model(input_ids=torch.tensor([row]))[0][0] for row in rows]
    expected = torch.cat([states[own] for states, own in zip(alone, reads, strict=True)])

    found = fastest_packed(model).states(encoded(rows), reads)

    assert torch.allclose(found, expected, atol=1e-5)


def test_reads_are_found_text_by_text_in_a_pack_that_has_first_reads_first() -> None:
    in_pack = ["a0", "b0", "c0", "a1", "c1", "c2"]

    order = reading_order([2, 1, 3])

    assert [in_pack[i] for i in order] == ["a0", "a1", "b0", "c0", "c1", "c2"]


def test_a_pack_planned_ahead_is_used_for_exactly_its_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = PackedForward(make_model("llama"))
    texts = [Encoded((1, 2, 3, n), 3) for n in range(4, 8)]
    expected = forward.rewards(texts), forward.rewards(texts[:2])
    planned: list[int] = []

    def counting(sequences: Sequence[Sequence[int]], *rest: Any, **options: Any) -> Pack:
        planned.append(len(sequences))
        return plan_pack(sequences, *rest, **options)

    monkeypatch.setattr("rm_core.engine.forward.packed.plan_pack", counting)
    forward.plan_ahead(texts)

    assert forward.rewards(texts[:2]) == expected[1]
    assert forward.rewards(texts) == expected[0]
    assert planned == [4, 2]


IN_PLAN = [Encoded((1, 2, n, 3), 3) for n in range(4, 8)]
EXTRA = (ReadPosition(1, 0, 1, "b"),)


@pytest.mark.parametrize(
    "others",
    [
        IN_PLAN[::-1],
        [Encoded(text.input_ids, 2) for text in IN_PLAN],
        [Encoded(text.input_ids, 3, extra_positions=EXTRA) for text in IN_PLAN],
    ],
    ids=["other texts", "other positions", "more positions"],
)
def test_a_pack_planned_ahead_is_used_for_nothing_else(others: list[Encoded]) -> None:
    forward = PackedForward(make_model("llama"))
    expected = forward.rewards(others)

    forward.plan_ahead(IN_PLAN)

    assert forward.rewards(others) == [pytest.approx(row) for row in expected]
