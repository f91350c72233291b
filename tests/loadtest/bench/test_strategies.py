import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from loadtest import workloads
from loadtest.bench.strategies import (
    GemmLimit,
    Ours,
    PackSize,
    Padded,
    by_group,
    by_length,
    in_order,
    pack_sizes,
    trunk_linears,
)
from loadtest.oracle import rewards_alone
from rm_core.engine import load_engine
from rm_core.engine.packing.policy import Budget
from rm_core.types import Dialogue, Encoded

BUDGET = Budget(max_tokens=8192, max_items=256)


@pytest.fixture(scope="module")
def loaded(model):
    return AutoModelForSequenceClassification.from_pretrained(model).eval()


@pytest.fixture(scope="module")
def texts(tokenizer):
    return workloads.grpo(tokenizer, groups=3, responses=4, prompt_tokens=40).texts


@pytest.fixture(scope="module")
def ids(texts, tokenizer):
    return [tokenizer(text.whole)["input_ids"] for text in texts]


@pytest.fixture(scope="module")
def truth(model, texts):
    return pytest.approx(rewards_alone(model, [text.whole for text in texts]), abs=1e-5)


def test_batches_hold_every_text_once():
    lengths = [5, 1, 9, 9, 2, 7, 3]

    assert in_order(7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert by_length(lengths, 3) == [[2, 3, 5], [0, 6, 4], [1]]
    assert by_group(["a", "b", "a", "c", "b"]) == [[0, 2], [1, 4], [3]]


@pytest.mark.parametrize("size", [1, 5])
def test_padded_batches_score_as_alone(loaded, ids, truth, size):
    batches = by_length([len(row) for row in ids], size)

    assert Padded("p", {"safety": loaded}, ids, batches).run()["safety"] == truth


def test_the_engine_scores_as_alone_in_packs_of_the_budget(model, texts, truth):
    engine = load_engine({"safety": str(model)}, device="cpu")
    items = [engine.encode(Dialogue(text.prompt, text.response)) for text in texts]
    groups = [text.prompt for text in texts]

    wide = Ours("ours", engine, items, groups, BUDGET)
    narrow = Ours("ours", engine, items, groups, Budget(700, 256))

    assert wide.run()["safety"] == truth
    assert narrow.run()["safety"] == truth
    assert wide.packs() == [list(range(12))]
    assert len(narrow.packs()) > 1
    assert sorted(index for pack in narrow.packs() for index in pack) == list(range(12))


def test_members_of_a_group_arriving_apart_meet_in_one_pack(model, texts):
    engine = load_engine({"safety": str(model)}, device="cpu")
    mixed = [texts[i] for i in (0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)]
    items = [engine.encode(Dialogue(text.prompt, text.response)) for text in mixed]
    group_tokens = max(sum(len(i.by_model["safety"].input_ids) for i in items) // 3, 1)

    ours = Ours("ours", engine, items, [t.prompt for t in mixed], Budget(group_tokens, 256))

    for pack in ours.packs():
        prompts = [mixed[index].prompt for index in pack]
        for prompt in set(prompts):
            assert prompts.count(prompt) == 4


def test_pack_sizes_count_shared_tokens_once():
    prompt = tuple(range(100, 150))
    texts = [Encoded((*prompt, n, n + 1), 51) for n in (1, 5, 9)] + [Encoded((7, 8, 9), 2)]

    assert pack_sizes([[0, 1, 2], [3]], texts) == [PackSize(56, 3), PackSize(3, 1)]


def test_the_limit_multiplies_what_the_trunk_s_linear_layers_must(loaded):
    sizes = [PackSize(10, 3), PackSize(4, 1)]
    weights = {linear.weight.numel(): 0 for linear, _ in trunk_linears(loaded)}
    assert weights
    every = sum(linear.weight.numel() for linear, _ in trunk_linears(loaded))
    last_mlp = sum(linear.weight.numel() for linear, last in trunk_linears(loaded) if last)

    def flops(limit):
        with FlopCounterMode(display=False) as counter:
            assert limit.run() == {}
        return counter.get_total_flops()

    all_rows = flops(GemmLimit("all", loaded, sizes, skip_unread=False))
    read_rows = flops(GemmLimit("read", loaded, sizes, skip_unread=True))

    assert all_rows == 2 * every * 14
    assert read_rows == 2 * ((every - last_mlp) * 14 + last_mlp * 4)
    # Seven linear layers in each of two layers; neither embedding nor head among them.
    assert len(trunk_linears(loaded)) == 14
    assert torch.nn.Linear in {type(linear) for linear, _ in trunk_linears(loaded)}
