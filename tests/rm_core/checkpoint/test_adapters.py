"""LoRA adapters score as peft and transformers do, and share the memory of their base."""

import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_core.checkpoint.adapters import WEIGHTS
from rm_core.checkpoint.load import load_reward_model, weights_digest
from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
from rm_core.engine import Engine, EngineOptions, load_engine
from rm_core.engine.trunk.chunked import is_llama_shaped
from rm_core.errors import (
    ConfigurationError,
    DigestMismatch,
    WrongRole,
)
from rm_core.text.contract import default_contract
from rm_core.types import Dialogue, Role
from tests.adapters import edit_config, edit_weights, save_adapter, save_base
from tests.models import make_tokenizer, save_checkpoint
from tests.rewards import own_rewards

TOLERANCE = 1e-5


def dialogues(seed: int = 0) -> list[Dialogue]:
    """Groups with a common prompt, lone texts, and two that are equal."""
    rng = random.Random(seed)

    def text(length: int) -> str:
        return "".join(rng.choice("abcdefgh ijklmnop qrstuvwxyz,.") for _ in range(length))

    prompts = [text(n) for n in (0, 3, 40, 200)]
    found = [Dialogue(p, text(rng.randint(1, 90)) + "x") for p in prompts for _ in range(4)]
    found.append(found[5])
    rng.shuffle(found)
    return found


def oracle(base: Path, adapter: Path, *, merged: bool = False) -> list[float]:
    """Transformers and peft by themselves: one text at a time, fp32, no padding."""
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    model = PeftModel.from_pretrained(model, adapter).eval()
    if merged:
        model = model.merge_and_unload().eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    rewards = []
    with torch.no_grad():
        for dialogue in dialogues():
            ids = tokenizer(dialogue.prompt + dialogue.response, return_tensors="pt").input_ids
            rewards.append(float(model(input_ids=ids).logits[0, 0]))
    return rewards


def rewards_of(engine: Engine, role: Role) -> list[float]:
    items = [engine.encode(dialogue) for dialogue in dialogues()]
    return [reward[role] for reward in own_rewards(engine, items)]


def base_weights(engine: Engine, role: Role) -> dict[str, int]:
    """Where the base's weights of a role's model lie in memory."""
    return {
        name: parameter.data_ptr()
        for name, parameter in engine._models[role].model.base_model.named_parameters()
        if "lora_" not in name and "modules_to_save" not in name
    }


@pytest.fixture
def another(tmp_path: Path, base: Path) -> Path:
    """Another one, of another shape."""
    return save_adapter(tmp_path / "helpfulness", base, seed=2, r=2, target_modules="all-linear")


# peft says that GPT-2's Conv1D turns its weights, and mends it.
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
@pytest.mark.parametrize(
    "architecture", ["llama", "qwen3", "mistral", "gemma2", "gpt2", "gpt_neox"]
)
def test_two_adapters_in_one_forward_score_as_peft_does_one_text_at_a_time(
    architecture: str, tmp_path: Path
) -> None:
    base = save_base(tmp_path / "base", architecture)
    names = {
        role: save_adapter(tmp_path / role, base, seed=seed, architecture=architecture)
        for seed, role in enumerate(("safety", "helpfulness"), start=1)
    }

    engine = load_engine({role: str(name) for role, name in names.items()})

    for role, name in names.items():
        expected = oracle(base, name)
        assert rewards_of(engine, role) == pytest.approx(expected, abs=TOLERANCE)
        assert torch.tensor(expected).std() > 0.01, "rewards too alike to show an error"
        assert engine.describe()[role]["path"] == "packed"
        assert engine.describe()[role]["shares_base_with"] != []


# Of a bias that can't be merged, here it is served apart; and saving takes it for a lost shard.
@pytest.mark.filterwarnings("ignore:.lora_bias=True. was passed")
@pytest.mark.filterwarnings("ignore:Adapter 'default'.*LoRA tensor.s. have invalid shape")
@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True},
        {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        {"lora_bias": True},
        {"lora_dropout": 0.5},
        {"modules_to_save": ["score", "norm"]},
        {"target_modules": "all-linear"},
        {"layers_to_transform": [1]},
        {"task_type": None, "modules_to_save": ["score"]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_kind_of_lora_that_is_served_scores_as_peft_does(
    options: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    adapter = save_adapter(tmp_path / "a", base, seed=3, **options)

    engine = load_engine({"helpfulness": str(adapter)})

    assert rewards_of(engine, "helpfulness") == pytest.approx(oracle(base, adapter), abs=TOLERANCE)
    assert engine.describe()["helpfulness"]["path"] == "packed"


def test_an_adapter_scores_as_its_merged_model(base: Path, adapter: Path) -> None:
    rewards = rewards_of(load_engine({"safety": str(adapter)}), "safety")

    assert rewards == pytest.approx(oracle(base, adapter, merged=True), abs=TOLERANCE)
    assert rewards != pytest.approx(oracle_of_the_base_under_its_head(base, adapter), abs=0.01)


def oracle_of_the_base_under_its_head(base: Path, adapter: Path) -> list[float]:
    """The negative control: what comes out where the adapter's layers are left away."""
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    peft_model = PeftModel.from_pretrained(model, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    head = peft_model.base_model.model.score.modules_to_save["default"]
    rewards = []
    with torch.no_grad(), peft_model.disable_adapter():
        for dialogue in dialogues():
            ids = tokenizer(dialogue.prompt + dialogue.response, return_tensors="pt").input_ids
            hidden = peft_model.base_model.model.base_model(input_ids=ids).last_hidden_state
            rewards.append(float(head(hidden[0, -1])))
    return rewards


def test_a_base_that_is_a_reward_model_serves_as_well(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base, seed=1)

    rewards = rewards_of(load_engine({"safety": str(adapter)}), "safety")

    assert rewards == pytest.approx(oracle(base, adapter), abs=TOLERANCE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_two_adapters_on_one_base_hold_its_weights_once(
    adapter: Path, another: Path, dtype: Any, deterministic: bool
) -> None:
    engine = load_engine(
        {"safety": str(adapter), "helpfulness": str(another)},
        EngineOptions(dtype=dtype, deterministic=deterministic),
    )

    weights = [set(base_weights(engine, role).values()) for role in ("safety", "helpfulness")]
    described = engine.describe()
    assert weights[0] == weights[1]
    assert len(weights[0]) == 20, "embedding, final norm, and nine of each of two layers"
    assert described["safety"]["shares_base_with"] == ["helpfulness"]
    assert described["helpfulness"]["shares_base_with"] == ["safety"]


def test_the_second_adapter_costs_its_own_weights_and_no_more(adapter: Path, another: Path) -> None:
    engine = load_engine({"safety": str(adapter), "helpfulness": str(another)})
    one, two = (engine._models[role].model for role in ("safety", "helpfulness"))

    held = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for model in (one, two)
        for tensor in (*model.parameters(), *model.buffers())
    }
    alone = sum(tensor.untyped_storage().nbytes() for tensor in (*one.parameters(), *one.buffers()))
    own = sum(tensor.nbytes for tensor in load_file(another / WEIGHTS).values())

    assert sum(held.values()) == alone + own


def test_bases_of_equal_content_are_shared_wherever_they_lie(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    twin = save_base(tmp_path / "twin")
    assert weights_digest(twin) == weights_digest(base)
    elsewhere = save_adapter(tmp_path / "elsewhere", twin, seed=2)

    described = load_engine({"safety": str(adapter), "helpfulness": str(elsewhere)}).describe()

    assert described["helpfulness"]["base"] == str(twin)
    assert described["helpfulness"]["shares_base_with"] == ["safety"]


@pytest.mark.parametrize("change", [{"seed": 7}, {"rms_norm_eps": 1e-3}], ids=["weights", "config"])
def test_other_bases_are_not_shared(adapter: Path, change: dict[str, Any], tmp_path: Path) -> None:
    other = save_base(tmp_path / "other", **change)
    elsewhere = save_adapter(tmp_path / "elsewhere", other, seed=2)

    engine = load_engine({"safety": str(adapter), "helpfulness": str(elsewhere)})

    assert engine.describe()["safety"]["shares_base_with"] == []
    assert rewards_of(engine, "helpfulness") == pytest.approx(
        oracle(other, elsewhere), abs=TOLERANCE
    )


def test_an_adapter_stands_beside_a_full_checkpoint(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    full = save_checkpoint(tmp_path / "full", seed=5)
    alone = rewards_of(load_engine({"helpfulness": str(full)}), "helpfulness")

    engine = load_engine({"safety": str(adapter), "helpfulness": str(full)})

    assert rewards_of(engine, "safety") == pytest.approx(oracle(base, adapter), abs=TOLERANCE)
    assert rewards_of(engine, "helpfulness") == pytest.approx(alone, abs=1e-6)
    told = engine.describe()
    assert (told["safety"]["adapter"], told["safety"]["base"]) == (True, str(base))
    assert (told["helpfulness"]["adapter"], told["helpfulness"]["base"]) == (False, None)
    assert told["safety"]["shares_base_with"] == told["helpfulness"]["shares_base_with"] == []


def test_one_adapter_in_both_roles_is_one_trunk_and_another_alpha_is_another(
    adapter: Path, base: Path, tmp_path: Path
) -> None:
    stronger = save_adapter(tmp_path / "stronger", base, seed=1, lora_alpha=16)

    same = load_engine({"safety": str(adapter), "helpfulness": str(adapter)})
    other = load_engine({"safety": str(adapter), "helpfulness": str(stronger)})

    assert weights_digest(adapter) == weights_digest(stronger)
    assert same.describe()["safety"]["shares_trunk_with"] == ["helpfulness"]
    assert other.describe()["safety"]["shares_trunk_with"] == []
    assert rewards_of(other, "helpfulness") == pytest.approx(oracle(base, stronger), abs=TOLERANCE)


def test_adapted_projections_are_not_taken_for_plain_products(adapter: Path) -> None:
    model = load_reward_model(str(adapter), "safety").model

    assert not is_llama_shaped(model.base_model)


def test_deterministic_adapters_give_the_same_bits_in_any_company(
    adapter: Path, another: Path
) -> None:
    engine = load_engine(
        {"safety": str(adapter), "helpfulness": str(another)}, EngineOptions(deterministic=True)
    )
    items = [engine.encode(dialogue) for dialogue in dialogues()]

    together = own_rewards(engine, items)

    assert together == [own_rewards(engine, [item])[0] for item in items]


def test_bfloat16_reduces_both_adapters_and_tells_the_error_of_each(
    adapter: Path, another: Path
) -> None:
    names = {"safety": str(adapter), "helpfulness": str(another)}
    exact = load_engine(names)
    reduced = load_engine(names, EngineOptions(dtype="bfloat16"))

    for role in ("safety", "helpfulness"):
        told = reduced.describe()[role]
        assert told["dtype"] == "bfloat16"
        assert 0 < told["precision_error"]["largest"] < 0.3
        difference = torch.tensor(rewards_of(exact, role)) - torch.tensor(rewards_of(reduced, role))
        assert 0 < float(difference.abs().max()) < 0.3


def test_int8_is_refused_for_adapters(adapter: Path) -> None:
    with pytest.raises(ConfigurationError, match="merge"):
        load_engine({"safety": str(adapter)}, EngineOptions(dtype="int8"))


def test_without_peft_it_says_what_to_install(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(ConfigurationError, match=r"rewardd\[lora\]"):
        load_engine({"safety": str(adapter)})


def test_the_digest_covers_adapter_settings_and_base(
    adapter: Path, base: Path, tmp_path: Path
) -> None:
    def digest() -> str:
        return load_reward_model(str(adapter), "safety").profile.digest

    found = [digest()]
    edit_config(adapter, lora_alpha=9)
    found.append(digest())
    edit_weights(adapter, lambda w: w["base_model.model.score.weight"].add_(0.1))
    found.append(digest())
    edit_config(adapter, base_model_name_or_path=str(save_base(tmp_path / "other", seed=3)))
    found.append(digest())

    assert len(set(found)) == 4


def test_the_adapters_own_tokenizer_goes_before_the_bases(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    own = save_adapter(tmp_path / "own", base, seed=1, tokenizer=make_tokenizer(chat=True))

    assert load_reward_model(str(own), "safety").encoder.contract.rendering == "chat"
    assert load_reward_model(str(adapter), "safety").encoder.contract.rendering == "concatenate"


def test_a_base_without_a_pad_token_takes_that_of_the_adapters_tokenizer(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", pad_token_id=None)
    tokenizer = make_tokenizer(pad_is_eos=True)
    adapter = save_adapter(tmp_path / "adapter", base, seed=1, tokenizer=tokenizer)

    encoder = load_reward_model(str(adapter), "safety").encoder

    assert encoder.pad_token_id == tokenizer.eos_token_id


# What the adapter's reward_model.json says.


def describe_adapter(adapter: Path, **fields: Any) -> None:
    contract = default_contract(make_tokenizer(), max_length=300)
    write_manifest(adapter, RewardModelManifest(role="safety", position=contract, **fields))


def test_its_manifest_is_honoured(adapter: Path, base: Path) -> None:
    describe_adapter(adapter, temperature=2.0, base_model={"weights_sha256": weights_digest(base)})

    loaded = load_reward_model(str(adapter), "safety")

    assert (loaded.profile.temperature, loaded.profile.max_length) == (2.0, 300)
    with pytest.raises(WrongRole):
        load_reward_model(str(adapter), "helpfulness")


def test_changed_files_are_a_digest_mismatch(adapter: Path) -> None:
    describe_adapter(adapter)
    edit_config(adapter, lora_alpha=9)

    with pytest.raises(DigestMismatch, match=r"adapter_config\.json"):
        load_reward_model(str(adapter), "safety")


def test_another_base_than_the_manifest_names_is_a_digest_mismatch(adapter: Path) -> None:
    describe_adapter(adapter, base_model={"weights_sha256": "0" * 64})

    with pytest.raises(DigestMismatch, match="trained on"):
        load_reward_model(str(adapter), "safety")


def test_a_base_that_differs_from_its_own_manifest_is_refused(adapter: Path, base: Path) -> None:
    describe_adapter(base)
    (base / "generation_config.json").write_text("{}")

    with pytest.raises(DigestMismatch, match="generation_config"):
        load_reward_model(str(adapter), "safety")
