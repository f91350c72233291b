from pathlib import Path

import pytest

from loadtest.bench.training.rankings import (
    Limits,
    Ranking,
    is_heldout,
    messages_of,
    pair_rows,
    ranking_row,
    read_rankings,
)
from loadtest.errors import LoadTestError
from tests.loadtest.bench.training.made_up import Words, pair, write_rows

ANY = Limits(least=2, most=8, max_length=100)
PROMPT = ({"role": "user", "content": "Which?"},)


def read(tmp_path: Path, rows: list, limits: Limits = ANY) -> list[Ranking]:
    return read_rankings([write_rows(tmp_path / "rows.jsonl.gz", rows)], limits, Words())


def test_scores_and_ranks_say_the_same(tmp_path: Path):
    rows = [
        {"prompt": "one", "responses": ["a", "b", "c"], "scores": [0.5, 2, 0.5]},
        {"prompt": "two", "responses": ["a", "b", "c"], "ranking": [1, 0, 1]},
    ]

    scored, ranked = read(tmp_path, rows)

    assert scored.ranks == ranked.ranks == (1, 0, 1)
    assert scored.pairs == ((1, 0), (1, 2))  # the tie of 0 and 2 is no pair


def test_a_transcript_becomes_the_chat_before_the_response():
    text = "\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: And now?\n\nAssistant:"

    assert messages_of(text) == (
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "And now?"},
    )
    assert messages_of("Human beings?") == ({"role": "user", "content": "Human beings?"},)


def test_every_trainer_gets_the_same_texts():
    ranking = Ranking("x:1", PROMPT, ("worst", "best", "middle"), (2, 0, 1))

    row, pairs = ranking_row(ranking, "train"), list(pair_rows(ranking))

    assert row["ranking"] == [2, 0, 1]
    assert row["split"] == "train"
    assert {(p["chosen"][0]["content"], p["rejected"][0]["content"]) for p in pairs} == {
        ("best", "worst"),
        ("middle", "worst"),
        ("best", "middle"),
    }
    assert all(p["prompt"] == row["prompt"] == list(PROMPT) for p in pairs)


def test_what_a_trainer_would_drop_takes_no_part(tmp_path: Path):
    rows = [
        pair("kept"),
        pair("Kept "),  # the same prompt again
        pair("equal", good="the same", bad="the same "),
        pair("tied") | {"scores": [1, 1]},
        pair("long", good="word " * 101),
        pair(" "),
    ]

    assert [ranking.id for ranking in read(tmp_path, rows)] == ["rows.jsonl.gz:1"]


def test_over_long_responses_leave_and_the_rest_stays_in_order(tmp_path: Path):
    row = {"prompt": "p", "responses": ["c", "word " * 200, "a"], "scores": [1, 9, 3]}

    (found,) = read(tmp_path, [row])

    assert found.responses == ("c", "a")
    assert found.pairs == ((1, 0),)


def test_nothing_within_the_limits_is_said(tmp_path: Path):
    with pytest.raises(LoadTestError, match="least=3"):
        read(tmp_path, [pair("p")], Limits(3, 8, 100))
    with pytest.raises(LoadTestError, match="can't be read"):
        read_rankings([tmp_path / "none.gz"], ANY, Words())


def test_a_prompt_is_held_out_by_its_words_alone():
    rankings = [
        Ranking(str(i), ({"role": "user", "content": f"question {i}"},), ("a", "b"), (0, 1))
        for i in range(400)
    ]
    loud = Ranking("x", ({"role": "user", "content": "QUESTION  7"},), ("c", "d"), (1, 0))

    share = sum(is_heldout(ranking, 0.2) for ranking in rankings) / len(rankings)

    assert 0.12 < share < 0.28
    assert is_heldout(loud, 0.2) == is_heldout(rankings[7], 0.2)
