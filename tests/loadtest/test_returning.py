import itertools

import pytest

from loadtest import returning
from loadtest.errors import LoadTestError


def ids(tokenizer, text):
    return tokenizer(text.whole, add_special_tokens=False)["input_ids"]


def in_common(one, other):
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def by_client(workload, schedule):
    """What each client sends, in order."""
    return [
        [
            text
            for request in workload.requests[client :: schedule.clients]
            for text in request.texts
        ]
        for client in range(schedule.clients)
    ]


def test_a_chat_s_tokens_begin_with_those_of_its_turn_before(tokenizer):
    workload, schedule = returning.turns(tokenizer, chats=3)

    assert schedule.clients == 3
    for chat in by_client(workload, schedule):
        rows = [ids(tokenizer, text) for text in chat]
        assert [len(row) for row in rows] == [250, 374, 498, 622, 746, 870]
        assert [text.num_tokens for text in chat] == list(map(len, rows))
        for before, after in itertools.pairwise(rows):
            assert after[: len(before)] == before
    assert len({tuple(ids(tokenizer, text)[:24]) for text in workload.texts}) == 3


class Chatty:
    """A tokenizer with a chat template of its own."""

    chat_template = "template"

    def __init__(self, tokenizer, last="<{role}>{content}"):
        self._tokenizer, self._last = tokenizer, last

    def __call__(self, text, *, add_special_tokens=True):
        return self._tokenizer(text, add_special_tokens=add_special_tokens)

    def apply_chat_template(self, conversation, *, tokenize, add_generation_prompt):
        *earlier, last = conversation
        lines = ["<{role}>{content}".format(**turn) for turn in earlier]
        return "".join([*lines, self._last.format(**last)])


def test_a_template_renders_the_chat_and_its_turns_are_told_apart(tokenizer):
    workload, schedule = returning.turns(Chatty(tokenizer), chats=2)

    first, second = by_client(workload, schedule)[0][:2]
    assert first.earlier == ()
    assert second.earlier == (first.prompt, first.response)
    assert second.whole.startswith(first.whole + "<user>")
    assert second.whole.endswith(f"<user>{second.prompt}<assistant>{second.response}")


def test_a_template_that_writes_earlier_turns_anew_is_refused(tokenizer):
    changing = Chatty(tokenizer, last="<{role} who speaks last>{content}")

    with pytest.raises(LoadTestError, match="leave `turns` out"):
        returning.turns(changing, chats=1)


def test_a_prompt_comes_again_with_another_response_each_time(tokenizer):
    workload, schedule = returning.again(tokenizer, prompts=4, seed=2)

    assert schedule.clients == 4
    for texts in by_client(workload, schedule):
        rows = [ids(tokenizer, text) for text in texts]
        assert len({text.prompt for text in texts}) == 1
        assert all(in_common(rows[0], row) >= 384 for row in rows[1:])
        assert len({text.whole for text in texts}) == 6
        assert all(420 <= len(row) <= 640 for row in rows)
    assert len({text.prompt for text in workload.texts}) == 4


@pytest.mark.parametrize(("rows", "clients"), [(1, 1), (8, 8), (10, 5), (11, 1), (16, 8)])
def test_clients_have_whole_chats_one_after_the_other(tokenizer, rows, clients):
    workload, schedule = returning.again(tokenizer, prompts=rows, responses=2)

    assert schedule.clients == clients
    for texts in by_client(workload, schedule):
        prompts = [text.prompt for text in texts]
        assert prompts[::2] == prompts[1::2]


def test_members_of_a_group_come_apart_by_fifths_of_a_second_to_a_minute(tokenizer):
    workload, schedule = returning.staggered(tokenizer, groups=6, responses=8, pace=1.0, seed=1)
    arrived = {}
    for request, time in zip(workload.requests, schedule.times, strict=True):
        arrived.setdefault(request.texts[0].prompt, []).append(time)

    assert len(arrived) == 6
    assert schedule.times[0] == 0.0
    assert list(schedule.times) == sorted(schedule.times)
    for times in arrived.values():
        assert len(times) == 8
        assert all(0.2 <= time - times[0] <= 60.0 for time in times[1:])
    slow, fast = (
        returning.staggered(tokenizer, groups=2, pace=pace)[1].times for pace in (1.0, 0.25)
    )
    assert fast == pytest.approx([time / 4 for time in slow])
