"""Which models run together: equal trunks, and adapters side by side with the base they share."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_core.engine import Engine, EngineOptions, load_engine
from rm_core.engine.options import AS_LOADED
from rm_core.types import Dialogue
from tests.adapters import save_adapter, save_base
from tests.models import make_tokenizer, save_checkpoint

TOLERANCE = 1e-5
DIALOGUES = [
    Dialogue("The same prompt, long enough to share: ", text) for text in ("yes", "no, never")
] + [Dialogue("", "alone"), Dialogue("other", "x" * 150)]


def rewards_of(engine: Engine, name: str) -> list[float]:
    items = [engine.encode(dialogue) for dialogue in DIALOGUES]
    return [rewards[name][0] for rewards in engine.forward(items)]


def alone(base: Path, adapter: Path | None = None) -> list[float]:
    """Transformers and peft by themselves, one text at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    model, tokenizer = model.eval(), AutoTokenizer.from_pretrained(base)
    texts = [dialogue.prompt + dialogue.response for dialogue in DIALOGUES]
    with torch.inference_mode():
        return [float(model(**tokenizer(text, return_tensors="pt")).logits) for text in texts]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A reward model, so that it can be served beside the adapters on it."""
    return save_checkpoint(tmp_path / "base")


def adapters(base: Path, count: int, **options: Any) -> dict[str, Path]:
    return {
        f"a{seed}": save_adapter(base.parent / f"a{seed}", base, seed=seed, **options)
        for seed in range(count)
    }


def engine_of(names: dict[str, Path], options: EngineOptions = AS_LOADED) -> Engine:
    return load_engine({name: str(path) for name, path in names.items()}, options)


def reason(engine: Engine, name: str) -> str:
    told: str = engine.describe()[name]["path_reason"]
    return told


def test_adapters_and_their_base_run_side_by_side_whatever_order_they_stand_in(base: Path) -> None:
    own = adapters(base, 2)
    names = {"a0": own["a0"], "plain": base, "a1": own["a1"], "again": own["a0"]}

    engine = engine_of(names)

    told = {reason(engine, name) for name in names}
    assert len(told) == 1
    assert told.pop().endswith("run chunk by chunk, 2 adapters and the base itself side by side")
    for name, path in names.items():
        expected = alone(base, None if name == "plain" else path)
        assert rewards_of(engine, name) == pytest.approx(expected, abs=TOLERANCE)
    assert list(engine.forward([engine.encode(DIALOGUES[0])])[0]) == list(names)


def test_what_shares_a_trunk_and_what_shares_a_base_are_told_apart(base: Path) -> None:
    own = adapters(base, 2)
    described = engine_of({**own, "again": own["a0"], "plain": base}).describe()

    assert described["a0"]["shares_trunk_with"] == ["again"]
    assert described["a1"]["shares_trunk_with"] == described["plain"]["shares_trunk_with"] == []
    assert described["a1"]["shares_base_with"] == ["a0", "again"]


def test_a_base_that_runs_beside_its_adapters_is_in_memory_once(base: Path) -> None:
    engine = engine_of({"plain": base, **adapters(base, 1)})

    plain, adapter = (engine._models[name].model for name in ("plain", "a0"))
    held = {each.data_ptr() for each in plain.base_model.parameters()}
    assert held < {each.data_ptr() for each in adapter.base_model.parameters()}


@pytest.mark.filterwarnings("ignore:.lora_bias=True. was passed")
@pytest.mark.filterwarnings("ignore:Adapter 'default'.*LoRA tensor.s. have invalid shape")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"use_dora": True}, "more than low-rank parts (Dora)"),
        ({"lora_bias": True}, "a bias (lora_bias)"),
        ({"modules_to_save": ["score", "norm"]}, "a module of its own (modules_to_save)"),
    ],
)
def test_an_adapter_of_another_kind_runs_as_peft_runs_it_and_leaves_the_others_together(
    options: dict[str, Any], words: str, base: Path
) -> None:
    own = adapters(base, 2)
    other = save_adapter(base.parent / "other", base, seed=9, **options)

    engine = engine_of({**own, "other": other})

    assert reason(engine, "a1").endswith("2 adapters side by side")
    assert f"not by low-rank parts beside its base's products, as its adapter has {words}" in (
        reason(engine, "other")
    )
    assert rewards_of(engine, "other") == pytest.approx(alone(base, other), abs=TOLERANCE)


def test_adapters_that_read_text_otherwise_run_apart(base: Path) -> None:
    one = adapters(base, 1)
    other = save_adapter(base.parent / "b", base, seed=3, tokenizer=make_tokenizer(chat=True))

    engine = engine_of({**one, "other": other})

    assert reason(engine, "a0") == reason(engine, "other")
    assert reason(engine, "other").endswith("its adapter added to its products")
    assert rewards_of(engine, "a0") == pytest.approx(alone(base, one["a0"]), abs=TOLERANCE)


def test_adapters_on_other_bases_and_other_full_checkpoints_run_apart(base: Path) -> None:
    one = adapters(base, 1)
    elsewhere = save_base(base.parent / "elsewhere", seed=7)
    other = save_adapter(base.parent / "b", elsewhere, seed=3)
    full = save_checkpoint(base.parent / "full", seed=5)

    engine = engine_of({**one, "other": other, "full": full})

    for name in ("a0", "other"):
        assert reason(engine, name).endswith("its adapter added to its products")
    assert reason(engine, "full") == "Llama-shaped decoder on the CPU, run chunk by chunk"
    assert rewards_of(engine, "other") == pytest.approx(alone(elsewhere, other), abs=TOLERANCE)
    assert rewards_of(engine, "full") == pytest.approx(alone(full), abs=TOLERANCE)


def test_deterministic_adapters_run_one_by_one_and_say_so(base: Path) -> None:
    engine = engine_of(adapters(base, 2), EngineOptions(deterministic=True))

    assert reason(engine, "a0").endswith("as `deterministic` is set")


def test_reduced_precision_is_measured_for_each_adapter(base: Path) -> None:
    names = adapters(base, 2)

    engine = engine_of({**names, "plain": base}, EngineOptions(dtype="bfloat16"))

    described = engine.describe()
    errors = [described[name]["precision_error"]["largest"] for name in ("a0", "a1", "plain")]
    assert len(set(errors)) == 3
    assert all(0 < error < 0.3 for error in errors)
    assert reason(engine, "a0").endswith("2 adapters and the base itself side by side")
    assert rewards_of(engine, "a1") == pytest.approx(alone(base, names["a1"]), abs=0.3)


def test_adapters_keep_beginnings_together_within_the_whole_bound(base: Path) -> None:
    names = {**adapters(base, 2), "plain": base}
    asked = EngineOptions(prefix_cache_bytes=3 * 2**20, reward_cache_bytes=0)

    engine = engine_of(names, asked)
    cold = rewards_of(engine, "a1")
    warm = rewards_of(engine, "a1")

    stats = engine.cache_stats().prefixes
    assert stats.max_bytes == 3 * 2**20
    assert stats.hit_tokens > 0
    assert warm == pytest.approx(cold, abs=TOLERANCE)
    assert warm == pytest.approx(alone(base, names["a1"]), abs=TOLERANCE)
