from loadtest.schedule import ClosedLoop
from loadtest.shapes import SHAPES


def test_no_shape_of_a_round_begins_a_text_as_another_shape_or_round_does(tokenizer):
    # A prefix cache that had seen a text's beginning would be measured as if it were fast.
    scenarios = [
        shape.scenario(tokenizer, 0.05, seed) for seed in range(3) for shape in SHAPES.values()
    ]
    beginnings = [{text.whole[:60] for text in each.workload.texts} for each in scenarios]

    assert len(set().union(*beginnings)) == sum(map(len, beginnings))
    assert scenarios[0] == SHAPES["grpo"].scenario(tokenizer, 0.05, 0)


def test_the_burst_beside_the_staggered_groups_has_their_lengths_in_other_words(tokenizer):
    staggered = SHAPES["staggered"].scenario(tokenizer, 0.125, 5)
    burst = SHAPES["burst"].scenario(tokenizer, 0.125, 5)

    lengths = [sorted(text.num_tokens for text in one.workload.texts) for one in (staggered, burst)]
    assert lengths[0] == lengths[1]
    assert len(lengths[0]) == 2 * 8
    assert max(burst.schedule.times) == 0.0
    assert len({text.whole for one in (staggered, burst) for text in one.workload.texts}) == 32


def test_a_pace_of_zero_sends_the_staggered_groups_at_once(tokenizer):
    assert set(SHAPES["staggered"].scenario(tokenizer, 0.1, 0, pace=0.0).schedule.times) == {0.0}


def test_chats_and_prompts_come_back_to_as_many_clients(tokenizer):
    for name in ("turns", "again"):
        scenario = SHAPES[name].scenario(tokenizer, 0.125, 0)
        assert scenario.schedule == ClosedLoop(2)
        assert len(scenario.workload.requests) == 2 * 6
