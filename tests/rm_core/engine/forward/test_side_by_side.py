"""Adapters side by side score as transformers and peft do, one text and one adapter at a time."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import profile

from rm_core.checkpoint.adapters import SharedBases
from rm_core.checkpoint.heads import HiddenLayerHead
from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.low_rank import low_rank_parts, without_adapter
from rm_core.engine.attention import TreePlan
from rm_core.engine.attention.kept import KeptRun
from rm_core.engine.forward import side_by_side
from rm_core.engine.forward.packed import PackedForward
from rm_core.engine.forward.side_by_side import OnBase, side_by_side_ways
from rm_core.engine.packing.plan import plan_pack
from rm_core.engine.trunk.products.choose import ProductChoice
from rm_core.engine.trunk.products.onednn import has_onednn
from rm_core.engine.trunk.products.table import table_of
from rm_core.types import Encoded, ReadPosition
from tests.adapters import save_adapter, save_base

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")
TOLERANCE = 1e-5
OPTIONS: list[dict[str, Any]] = [
    {"r": 4},
    {"r": 2, "target_modules": "all-linear"},
    {"r": 9, "use_rslora": True, "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 5}},
    {"r": 1, "layers_to_transform": [1]},
    {"r": 4, "target_modules": ["gate_proj"], "lora_alpha": 64},
    {"r": 16, "target_modules": ["k_proj", "v_proj", "up_proj"]},
    {"r": 3, "layers_to_transform": [0], "target_modules": ["o_proj"]},
    {"r": 5},
]
WAYS = ["chunk by chunk", "with the last layer cut short", "with every row of the last layer"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Eight adapters that differ in rank, layers and scaling, on one base in memory."""
    folder = tmp_path_factory.mktemp("adapters")
    base, shared = save_base(folder / "base", "qwen3"), SharedBases()
    return [
        load_reward_model(
            str(save_adapter(folder / f"{seed}", base, seed=seed, architecture="qwen3", **options)),
            "safety",
            bases=shared,
        ).model
        for seed, options in enumerate(OPTIONS)
    ]


def member(model: Any) -> OnBase:
    parts = low_rank_parts(model)
    assert not isinstance(parts, str)
    return OnBase(model, parts, [model.score])


def forward_of(members: Sequence[OnBase], way: str = WAYS[0]) -> PackedForward:
    return next(each for each in side_by_side_ways(members) if each.name == way).make()


@cache
def texts() -> tuple[Encoded, ...]:
    """Groups with a common prompt, lone texts, equal ones; some read at tokens as well."""
    generator = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        drawn: list[int] = torch.randint(0, 250, (count,), generator=generator).tolist()
        return drawn

    prompts = [ids(30), ids(90)]
    rows = [prompt + ids(n) for prompt in prompts for n in (3, 17, 40)]
    rows += [ids(1), ids(2), ids(120)]
    found = [Encoded(tuple(row), len(row) - 1) for row in rows]
    found[1] = Encoded(found[1].input_ids, 46, extra_positions=(at(3), at(29), at(35)))
    return (*found, found[4])


def at(position: int) -> ReadPosition:
    return ReadPosition(position, 0, 0, "")


def alone(model: Any, head: nn.Module | None = None) -> Tensor:
    """Rewards of one text at a time through peft's own layers, wherever the texts are read."""
    head = model.score if head is None else head
    rewards = []
    with torch.inference_mode():
        for text in texts():
            states = model.base_model(input_ids=torch.tensor([text.input_ids]))[0][0]
            reads = [text.read_position, *(extra.position for extra in text.extra_positions)]
            rewards += [float(head(states[read])) for read in reads]
    return torch.tensor(rewards)


def assert_alike(found: Tensor, expected: Tensor) -> None:
    worst = float(((found - expected).abs() / (1 + expected.abs())).max())
    assert worst < TOLERANCE
    assert expected.std(dim=0).min() > 0.01, "rewards too alike to show an error"


@needs_onednn
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rows", [None, 16])
def test_adapters_go_on_top_of_onednns_products(
    way: str, rows: int | None, models: list[Any]
) -> None:
    expected = torch.stack([alone(model) for model in models[:3]], dim=1)
    products = ProductChoice(replace(table_of("onednn"), chunk_rows=rows), "set")
    ways = side_by_side_ways(list(map(member, models[:3])), products)

    with profile() as calls:
        forward = next(each for each in ways if each.name == f"by oneDNN {way}").make()
        found = torch.tensor(forward.rewards(texts()))

    assert_alike(found, expected)
    assert any("mkldnn::_linear_pointwise" in event.key for event in calls.key_averages())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 2, 8])
def test_each_adapter_gives_its_own_rewards_of_each_text_alone(
    count: int, way: str, models: list[Any]
) -> None:
    expected = torch.stack([alone(model) for model in models[:count]], dim=1)

    found = torch.tensor(forward_of(list(map(member, models[:count])), way).rewards(texts()))

    assert_alike(found, expected)
    if count > 1:
        assert (expected[:, 0] - expected[:, 1]).abs().max() > 0.01


def test_the_base_itself_and_heads_with_hidden_layers_are_read_beside_adapters(
    models: list[Any],
) -> None:
    first = member(models[0])
    torch.manual_seed(5)
    deep = HiddenLayerHead(
        [(torch.randn(8, 32), torch.randn(8)), (torch.randn(1, 8), torch.randn(1))], "tanh"
    )
    plain = without_adapter(models[0])
    members = [OnBase(first.model, first.parts, [first.heads[0], deep]), OnBase(plain, {}, [deep])]

    found = torch.tensor(forward_of(members).rewards(texts()))

    expected = [alone(models[0]), alone(models[0], deep), alone(plain, deep)]
    assert_alike(found, torch.stack(expected, dim=1))


def test_rows_beyond_what_pays_are_further_runs(
    models: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    members = list(map(member, models[:3]))
    forward, rows = forward_of(members), []
    run: Any = forward._run

    def counted(input_ids: Tensor, tree: TreePlan, run: Any = run._run) -> Any:
        rows.append(len(input_ids))
        return run(input_ids, tree)

    monkeypatch.setattr(run, "_run", counted)
    together = forward.rewards(texts())
    tokens = rows.pop() // 3
    monkeypatch.setattr(side_by_side, "ROWS_TOGETHER", 2 * tokens)
    apart = forward.rewards(texts())

    assert rows == [2 * tokens, tokens]
    assert_alike(torch.tensor(apart), torch.tensor(together))


class Kept:
    """What a cache takes of a pack's layers."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, layer: int, key: Tensor, value: Tensor) -> None:
        assert layer not in self.layers
        self.layers[layer] = key[0].transpose(0, 1).clone(), value[0].transpose(0, 1).clone()

    def run(self, tokens: int) -> KeptRun:
        """What it holds of the row's first tokens."""
        layers = [self.layers[layer] for layer in sorted(self.layers)]
        return KeptRun(
            tuple(key[:tokens] for key, _ in layers), tuple(value[:tokens] for _, value in layers)
        )


@pytest.mark.parametrize("rows_together", [1, 4096])
@torch.inference_mode()
def test_what_a_cache_keeps_is_each_adapters_own(
    rows_together: int, models: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "ROWS_TOGETHER", rows_together)
    run = forward_of(list(map(member, models[:3])))._run
    ids = list(texts()[-2].input_ids)
    kept, device = Kept(), torch.device("cpu")
    cold = plan_pack([ids], [len(ids) - 1])
    warm = plan_pack([ids], [len(ids) - 1], cached=[[60]])

    expected = run(torch.tensor(ids), TreePlan.of(cold, device, capture=kept))
    plan = TreePlan.of(warm, device, kept=(kept.run(60), None))
    found = run(torch.from_numpy(warm.input_ids), plan)

    assert sorted(kept.layers) == list(range(3 * 2)), "three adapters on two layers"
    assert warm.num_tokens == len(ids) - 60
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
