import hashlib
import shutil
from pathlib import Path

import pytest

from loadtest.bench.training import scorer as module
from loadtest.bench.training.rankings import Ranking
from loadtest.bench.training.scorer import AccuracyScorer
from loadtest.errors import LoadTestError
from loadtest.oracle import load_tokenizer, rewards_alone

PROMPT = ({"role": "user", "content": "Tell me of the river."},)
RANKINGS = [
    Ranking("1", PROMPT, ("It is long.", "No.", "It is long and wide."), (0, 1, 1)),
    Ranking("2", PROMPT, ("Rivers run.", "Rivers do run to the sea."), (1, 0)),
]

TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"


@pytest.fixture(scope="module")
def chatty(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as trainers leave it: with a chat template."""
    directory = tmp_path_factory.mktemp("chatty") / "model"
    shutil.copytree(model, directory)
    tokenizer = load_tokenizer(directory)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(directory)
    return directory


def chats(model: Path) -> list[str]:
    tokenizer = load_tokenizer(model)
    return [
        tokenizer.apply_chat_template(ranking.chat(i), tokenize=False)
        for ranking in RANKINGS
        for i in range(len(ranking.responses))
    ]


def test_pairs_are_right_where_transformers_orders_them_so(chatty: Path):
    first, second, third, low, high = rewards_alone(chatty, chats(chatty))

    found = AccuracyScorer(chatty, "safety").right(RANKINGS)

    assert found == [float(first > second), float(first > third), float(high > low)]


def test_equal_rewards_count_half(chatty: Path):
    twice = Ranking("1", PROMPT, ("It is long.", "It is long."), (0, 1))

    assert AccuracyScorer(chatty, "safety").right([twice]) == [0.5]


def test_a_judge_that_is_wrong_itself_stops(chatty: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "rewards_alone", lambda _, wholes: [99.0] * len(wholes))

    with pytest.raises(LoadTestError, match=r"transformers' own 99\.0"):
        AccuracyScorer(chatty, "safety").right(RANKINGS)


def test_digests_are_of_the_ids_that_the_template_makes(chatty: Path):
    tokenizer = load_tokenizer(chatty)
    ids = [tokenizer(whole, add_special_tokens=False)["input_ids"] for whole in chats(chatty)]

    digests = AccuracyScorer(chatty, "safety").text_digests(RANKINGS)

    assert digests == {hashlib.sha256(repr(each).encode()).hexdigest() for each in ids}
