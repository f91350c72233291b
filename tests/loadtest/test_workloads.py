from random import Random

import pytest

from loadtest import workloads
from loadtest.errors import LoadTestError
from loadtest.workloads import Request, Text, Writer, log_normal_length, render


def count(tokenizer, text):
    return len(tokenizer(text)["input_ids"])


def test_equal_seeds_give_equal_workloads_and_others_share_no_text(tokenizer):
    first, again, other = (
        workloads.grpo(tokenizer, groups=2, responses=3, prompt_tokens=20, seed=s)
        for s in (1, 1, 2)
    )

    assert first == again
    assert not {t.whole for t in first.texts} & {t.whole for t in other.texts}


def test_grpo_groups_share_a_prompt_of_exactly_so_many_tokens(tokenizer):
    workload = workloads.grpo(tokenizer, groups=3, responses=5, prompt_tokens=48)

    assert len(workload.requests) == 3
    prompts = set()
    for request in workload.requests:
        assert len(request.texts) == 5
        assert request.is_group
        prompts.add(request.texts[0].prompt)
        ids = [tokenizer(text.whole)["input_ids"] for text in request.texts]
        assert count(tokenizer, request.texts[0].prompt) == 48
        assert len({tuple(row[:48]) for row in ids}) == 1
        assert len({tuple(row) for row in ids}) == 5
    assert len(prompts) == 3


def test_every_text_has_exactly_the_promised_tokens(tokenizer):
    texts = [
        *workloads.grpo(tokenizer, groups=2, responses=4, prompt_tokens=33).texts,
        *workloads.mixed(tokenizer, texts=24).texts,
        *workloads.long_tail(tokenizer, texts=16, longest=700, one_long_in=8).texts,
    ]

    assert [count(tokenizer, text.whole) for text in texts] == [text.num_tokens for text in texts]


def test_responses_are_32_to_256_tokens_and_log_normal(tokenizer):
    rng = Random(0)
    lengths = sorted(log_normal_length(rng, 32, 256) for _ in range(4000))

    assert (lengths[0], lengths[-1]) == (32, 256)
    assert lengths[2000] == pytest.approx(90.5, abs=3)  # the geometric mean of 32 and 256
    assert sum(lengths) / 4000 > lengths[2000]  # skewed to the right


def test_mixed_texts_are_32_to_512_tokens_share_nothing_and_come_32_a_request(tokenizer):
    workload = workloads.mixed(tokenizer, texts=70)

    assert [len(request.texts) for request in workload.requests] == [32, 32, 6]
    assert all(32 <= text.num_tokens <= 512 for text in workload.texts)
    assert not any(request.is_group for request in workload.requests)
    beginnings = {tuple(tokenizer(text.whole)["input_ids"][:24]) for text in workload.texts}
    assert len(beginnings) == 70


def test_the_long_tail_has_one_long_text_in_so_many(tokenizer):
    workload = workloads.long_tail(tokenizer, texts=32, longest=600, one_long_in=16)
    lengths = [text.num_tokens for text in workload.texts]

    assert lengths.count(600) == 2
    assert sorted(lengths)[-3] <= 300
    assert all(len(request.texts) == 1 for request in workload.requests)


def test_one_response_is_no_group():
    text = Text("p", " r", "p r", 2)

    assert not Request((text,)).is_group
    assert Request((text, Text("p", " s", "p s", 2))).is_group
    assert not Request((text, Text("q", " r", "q r", 2))).is_group


def test_a_tokenizer_that_does_not_split_at_spaces_is_refused():
    class Characters:
        chat_template = None

        def __call__(self, text, *, add_special_tokens=True):
            return {"input_ids": list(text)}

    with pytest.raises(LoadTestError, match="split at spaces"):
        Writer(Characters(), seed=0)


def test_a_chat_template_dresses_the_whole_text_and_nothing_else():
    class Chatty:
        chat_template = "template"

        def apply_chat_template(self, conversation, *, tokenize, add_generation_prompt):
            assert not tokenize
            assert not add_generation_prompt
            return "".join(f"<{turn['role']}>{turn['content']}" for turn in conversation)

    assert render(Chatty(), "p", " r") == "<user>p<assistant> r"
