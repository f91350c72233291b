from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from rewardd.files.local import LocalScorer
from rm_client.models import CompareItem, GroupItem, ResponseItem, ScoreItem, StepsItem
from rm_core.types import Dialogue, EncodedItem, ItemRewards
from tests.fakes import ENCODE_ERROR_MARK, NAN_MARK, DriftingScorer, FakeScorer, fake_reward


def responses(count: int) -> list[ResponseItem]:
    return [ResponseItem(prompt=f"p{i % 3}", response=f"r{i} " * (i % 5 + 1)) for i in range(count)]


def score(scorer: FakeScorer, items: Sequence[ScoreItem], **options: int) -> list[dict[str, Any]]:
    scorer = LocalScorer(scorer, **{"max_pack_tokens": 50, "max_pack_items": 8, **options})
    return list(scorer.score(iter(items), "error"))


def test_results_come_in_the_items_order_however_they_are_packed() -> None:
    items = responses(300)
    scorer = FakeScorer()

    found = score(scorer, items)

    assert len(found) == 300
    for item, result in zip(items, found, strict=True):
        dialogue = Dialogue(str(item.prompt), item.response)
        assert result["helpfulness"]["reward"] == fake_reward("helpfulness", dialogue)
    packs = [len(pack) for pack in scorer.forwards]
    assert max(packs) <= 8
    assert len(packs) < 150  # they were packed, not sent one by one


def test_one_prompts_responses_meet_in_a_pack() -> None:
    scorer = FakeScorer()
    items = [GroupItem(prompt=f"p{i}", responses=[f"{i}a", f"{i}b", f"{i}c"]) for i in range(20)]

    found = score(scorer, items)

    assert all(len(result["advantages"]) == 3 for result in found)
    for pack in scorer.forwards:
        assert len(pack) % 3 == 0


def test_no_more_is_read_ahead_than_some_packs() -> None:
    num_read = 0

    def many() -> Iterator[ScoreItem]:
        nonlocal num_read
        for item in responses(5000):
            num_read += 1
            yield item

    scorer = LocalScorer(FakeScorer(), max_pack_tokens=50, max_pack_items=8)
    ahead = [num_read - done for done, _ in enumerate(scorer.score(many(), "error"), start=1)]

    assert len(ahead) == 5000
    assert max(ahead) < 100


def test_a_pack_that_does_not_fit_is_halved_and_nothing_is_lost() -> None:
    scorer = FakeScorer()
    scorer.max_fitting = 3
    items = responses(40)

    found = score(scorer, items)

    assert scorer.failed
    assert found == score(FakeScorer(), items)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("  ", "empty_text"),
        (f"x {NAN_MARK}", "nonfinite_reward"),
        (f"x {ENCODE_ERROR_MARK}", "tokenizing_failed"),
        ("w " * 60, "input_too_long"),
    ],
)
def test_a_bad_item_is_an_error_and_its_neighbours_are_judged(response: str, code: str) -> None:
    items = [*responses(3), ResponseItem(prompt="p", response=response), *responses(3)]

    found = score(FakeScorer(max_length=50), items)

    assert [result.get("error", {}).get("code") for result in found] == [None] * 3 + [code] + [
        None
    ] * 3
    assert response.strip() not in found[3]["error"]["detail"] or not response.strip()


def test_one_that_fits_no_device_is_an_error() -> None:
    scorer = FakeScorer()
    scorer.max_fitting = 0

    (result,) = score(scorer, responses(1))

    assert result["error"]["code"] == "out_of_memory"


def test_a_groups_failed_response_has_its_error_and_the_others_their_advantages() -> None:
    (result,) = score(FakeScorer(), [GroupItem(prompt="p", responses=["a", " ", "c"])])

    assert result["responses"][1]["error"]["pointer"] == "/responses/1"
    assert [advantage is None for advantage in result["advantages"]] == [False, True, False]


def test_steps_have_their_rewards_here_too() -> None:
    items = [*responses(2), StepsItem(prompt="p", steps=["a b ", "c"])]

    steps = score(FakeScorer(), items)[-1]["safety"]["steps"]

    ends = [Dialogue("p", "a b "), Dialogue("p", "a b c")]
    assert steps["rewards"] == [fake_reward("safety", end) for end in ends]
    assert steps["score"] == min(steps["scores"])


def test_comparisons_rank_the_responses_and_fail_as_a_whole() -> None:
    items = [
        CompareItem(prompt="p", responses=["a", "b", "c"]),
        CompareItem(prompt="p", responses=["a", " "]),
    ]
    scorer = LocalScorer(FakeScorer(), max_pack_tokens=50)

    good, bad = scorer.compare(iter(items), "error")

    rewards = [one["selected_reward"] for one in good["responses"]]
    assert good["winner"] == rewards.index(max(rewards))
    assert bad["error"]["pointer"] == "/responses/1"


def test_equal_responses_are_a_tie_though_their_packs_would_part_them() -> None:
    scorer = DriftingScorer()
    local = LocalScorer(scorer, max_pack_tokens=50, max_pack_items=1)

    (found,) = local.compare(iter([CompareItem(prompt="p", responses=["a", "b", "a"])]), "error")

    first, second, third = [one["selected_reward"] for one in found["responses"]]
    assert first == third != second
    assert scorer.forwards == [["a"], ["b"]]


def test_the_safety_tag_decides_the_selection() -> None:
    items = [ResponseItem(prompt="p", response="r", is_safety=tag) for tag in (False, True)]

    plain, tagged = score(FakeScorer(), items)

    assert tagged["selected"] == "safety"
    assert plain["safety"] == tagged["safety"]


def test_a_forward_that_breaks_ends_the_run_with_its_own_error() -> None:
    class Broken(FakeScorer):
        def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        score(Broken(), responses(3))
