"""What a checkpoint is, and every known way for it to be unsound."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rewardd.checkpoints.convert.run import ConvertOptions, convert
from rewardd.checkpoints.inspect import checkpoint as inspect_module
from rewardd.checkpoints.inspect.checkpoint import inspect_checkpoint
from rewardd.checkpoints.inspect.report import Inspection
from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
from rm_core.errors import RewardError
from rm_core.text.contract import default_contract, template_digest
from rm_core.types import Baseline
from tests.adapters import save_adapter, save_base
from tests.models import CHAT_TEMPLATE, EOS, PAD, make_tokenizer, save_checkpoint
from tests.rewardd.checkpoints.convert import foreign


def codes(inspection: Inspection, severity: str = "problem") -> set[str]:
    return {found.code for found in inspection.findings if found.severity == severity}


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A sound reward model for plain transformers."""
    return save_checkpoint(tmp_path / "plain")


def test_a_plain_reward_model_is_sound_and_its_position_is_assumed(plain: Path) -> None:
    found = inspect_checkpoint(str(plain))

    assert found.sound
    assert found.kind == "reward model for plain transformers"
    assert found.architecture == "LlamaForSequenceClassification"
    assert found.texts is not None
    assert found.texts.position["read"] == "last_non_pad"
    assert found.texts.known_from.startswith("assumed")
    assert (found.texts.pad_token_id, found.texts.eos_token_id) == (PAD, EOS)
    assert found.path is not None
    assert found.path["path"] == "packed"


def test_numbers_are_counted_as_they_are_saved(plain: Path) -> None:
    weights = load_file(plain / "model.safetensors")

    found = inspect_checkpoint(str(plain), load=False)

    assert found.weights is not None
    assert found.weights.parameters == sum(tensor.numel() for tensor in weights.values())
    assert found.weights.dtypes == {"float32": found.weights.parameters}
    assert not found.weights.finite_checked
    assert found.head is not None
    assert found.head.shape == (1, 32)
    assert found.head.std == pytest.approx(float(weights["score.weight"].std()))
    assert found.path is None


def test_a_checkpoint_of_ours_tells_what_its_manifest_holds(plain: Path) -> None:
    manifest = RewardModelManifest(
        role="safety",
        position=default_contract(make_tokenizer(), max_length=300),
        temperature=2.0,
        baseline=Baseline(0.5, 1.5, 32.0),
        data={"fingerprint": "f" * 64},
        training={"objective": "hinge"},
    )
    write_manifest(plain, manifest)

    found = inspect_checkpoint(str(plain))

    assert found.sound
    assert found.kind == "reward model of rewardd"
    assert found.digests == "verified"
    assert found.texts is not None
    assert found.texts.known_from == "reward_model.json"
    assert found.manifest is not None
    assert found.manifest["temperature"] == 2.0
    assert found.manifest["training"] == {"objective": "hinge"}


def test_a_head_that_averages_is_as_sound_as_one_that_reads_one_token(plain: Path) -> None:
    contract = default_contract(make_tokenizer(), max_length=300)
    write_manifest(plain, RewardModelManifest(role="safety", position=contract, head="mean"))

    found = inspect_checkpoint(str(plain))

    assert found.sound
    assert found.manifest is not None
    assert found.manifest["head"] == "mean"


def test_a_file_that_changed_after_the_manifest_is_a_problem(plain: Path) -> None:
    contract = default_contract(make_tokenizer(), max_length=300)
    write_manifest(plain, RewardModelManifest(role="safety", position=contract))
    edit_weights(plain, lambda weights: weights["score.weight"].add_(1.0))

    found = inspect_checkpoint(str(plain))

    assert found.digests == "failed"
    assert "digest_mismatch" in codes(found)


FOREIGN: dict[str, tuple[Callable[[Path], foreign.Foreign], str]] = {
    "llama-factory": (foreign.llama_factory, "value-head checkpoint of LLaMA-Factory"),
    "trl": (foreign.trl, "value-head checkpoint of TRL"),
    "openrlhf": (foreign.openrlhf, "reward model of OpenRLHF"),
}


@pytest.mark.parametrize("layout", FOREIGN)
def test_foreign_layouts_are_told_with_the_position_they_read(layout: str, tmp_path: Path) -> None:
    build, kind = FOREIGN[layout]
    source = build(tmp_path / "source")

    found = inspect_checkpoint(str(source.directory))

    assert found.sound
    assert (found.layout, found.kind) == (layout, kind)
    assert found.texts is not None
    assert found.texts.position["read"] == "last_token"
    assert "convert_first" in codes(found, "note")


def test_what_convert_writes_is_sound(tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")
    convert(str(source.directory), tmp_path / "ours", ConvertOptions(role="safety"))

    found = inspect_checkpoint(str(tmp_path / "ours"))

    assert found.sound
    assert found.head is not None
    assert found.head.bias == 1.5
    assert not codes(found, "warning")


def test_a_language_model_has_no_head(tmp_path: Path) -> None:
    found = inspect_checkpoint(str(save_base(tmp_path / "base")))

    assert found.kind == "causal language model without a reward head"
    assert codes(found) == {"missing_head"}


def test_a_reward_adapter_names_its_base(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base, seed=1, tokenizer=make_tokenizer())

    found = inspect_checkpoint(str(adapter))

    assert found.sound
    assert found.kind.endswith("a LoRA adapter")
    assert found.base == str(base)
    assert found.head is not None


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    source = foreign.deepspeed_chat(tmp_path / "pickled")

    found = inspect_checkpoint(str(source.directory))

    assert found.kind == "pickled weights, not opened"
    assert codes(found) == {"unsafe_checkpoint"}


def nan_in_a_layer(directory: Path) -> None:
    edit_weights(directory, lambda w: w["model.layers.0.mlp.up_proj.weight"][0].fill_(float("nan")))


def zero_head(directory: Path) -> None:
    edit_weights(directory, lambda w: w["score.weight"].zero_())


def no_head(directory: Path) -> None:
    edit_weights(directory, lambda w: w.pop("score.weight"))


def two_labels(directory: Path) -> None:
    edit_json(directory / "config.json", num_labels=2)


def tokenizer_too_large(directory: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"<{i}>" for i in range(100)])
    tokenizer.save_pretrained(directory)


def broken_manifest(directory: Path) -> None:
    (directory / "reward_model.json").write_text("{")


def cut_weights(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (nan_in_a_layer, "not_finite"),
        (zero_head, "head_is_zero"),
        (no_head, "missing_head"),
        (two_labels, "wrong_num_labels"),
        (tokenizer_too_large, "vocabulary_too_large"),
        (broken_manifest, "invalid_manifest"),
        (cut_weights, "checkpoint_error"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_makes_it_unfit_to_serve_is_a_problem(
    damage: Callable[[Path], None], code: str, plain: Path
) -> None:
    damage(plain)

    found = inspect_checkpoint(str(plain))

    assert not found.sound
    assert code in codes(found)
    json.dumps(found.to_json(), allow_nan=False)


def test_an_empty_directory_is_no_model(tmp_path: Path) -> None:
    found = inspect_checkpoint(str(tmp_path))

    assert found.kind == "no model directory"
    assert "no_weights" in codes(found)


def regression_head(directory: Path) -> None:
    edit_weights(directory, lambda w: w.update({"regression_head.weight": w.pop("score.weight")}))


def unsaid_activation(directory: Path) -> None:
    def deepen(weights: dict[str, torch.Tensor]) -> None:
        del weights["score.weight"]
        weights |= {"score.0.weight": torch.ones(4, 32), "score.2.weight": torch.ones(1, 4)}

    edit_weights(directory, deepen)


def quantised(directory: Path) -> None:
    edit_json(
        directory / "config.json",
        quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True},
    )


def strict_type(directory: Path) -> None:
    edit_json(directory / "config.json", vocab_size="many")


def extra_bias(directory: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.bias"
    edit_weights(directory, lambda weights: weights.update({name: torch.ones(32)}))


def lacking(directory: Path) -> None:
    edit_weights(directory, lambda weights: weights.pop("model.layers.0.mlp.up_proj.weight"))


def templates_without_default(directory: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"rag": "x", "tool_use": "y"}
    tokenizer.save_pretrained(directory)


def no_tokenizer(directory: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).unlink()


REFUSED = [
    regression_head,
    unsaid_activation,
    quantised,
    strict_type,
    extra_bias,
    lacking,
    templates_without_default,
    no_tokenizer,
    no_head,
    two_labels,
    cut_weights,
]


@pytest.mark.parametrize("damage", REFUSED, ids=lambda damage: damage.__name__)
def test_what_the_server_refuses_is_told_in_its_own_words(
    damage: Callable[[Path], None], plain: Path
) -> None:
    damage(plain)
    with pytest.raises(RewardError) as refused:
        load_reward_model(str(plain), "safety")

    found = inspect_checkpoint(str(plain))

    problems = [finding for finding in found.findings if finding.severity == "problem"]
    assert refused.value.code in {finding.code for finding in problems}
    assert all("\n" not in finding.message for finding in problems)
    assert not any("None is missing" in finding.message for finding in problems)
    for word in ("convert", "dequantize", "say true", "called 'default'"):
        if word in str(refused.value):
            assert any(word in finding.message for finding in problems), word


def test_an_architecture_without_a_head_says_which_tensor_looks_like_one(plain: Path) -> None:
    regression_head(plain)
    edit_json(plain / "config.json", architectures=["LlamaForRewards"])

    (problem,) = inspect_checkpoint(str(plain)).findings

    assert "--head regression_head" in problem.message


def test_what_becomes_of_each_tensor_is_told(plain: Path) -> None:
    edit_weights(plain, lambda weights: weights.update({"lm_head.weight": torch.ones(4, 32)}))
    save_file({"score.bias": torch.tensor([3.0])}, plain / "old_head.safetensors")

    found = inspect_checkpoint(str(plain))

    assert found.sound
    assert found.tensors is not None
    assert found.tensors.used == len(load_file(plain / "model.safetensors")) - 1
    assert found.tensors.left_over == {"lm_head.weight": "a language model's head"}
    assert found.tensors.files_not_read == ("old_head.safetensors",)
    assert "file_not_read" in codes(found, "note")
    assert found.head is not None
    assert found.head.bias is None


def test_a_head_with_hidden_layers_is_described(plain: Path) -> None:
    unsaid_activation(plain)
    # Under relu this random head gives every text the reward 0, and would be refused.
    edit_json(plain / "config.json", rewardd={"head_activation": "tanh"})

    found = inspect_checkpoint(str(plain))

    assert found.sound
    assert found.head is not None
    assert found.head.name == "score, 2 layers (tanh)"


def test_the_default_template_is_the_one_that_is_told(plain: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"default": CHAT_TEMPLATE, "tool_use": "y"}
    tokenizer.save_pretrained(plain)

    found = inspect_checkpoint(str(plain))

    assert found.texts is not None
    assert found.texts.position["rendering"] == "chat"
    assert found.texts.template_sha256 == template_digest(CHAT_TEMPLATE)


def test_pad_tokens_of_every_file_are_compared(plain: Path) -> None:
    (plain / "generation_config.json").write_text(json.dumps({"pad_token_id": EOS}))

    found = inspect_checkpoint(str(plain))

    (told,) = [finding for finding in found.findings if finding.code == "pad_tokens_differ"]
    assert "config.json 258, generation_config.json 257, the tokenizer 258" in told.message


def test_what_a_library_raises_over_a_part_hides_no_other(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise IndexError("index out of range\nin self")

    monkeypatch.setattr(inspect_module, "Engine", fail)

    found = inspect_checkpoint(str(plain))

    assert codes(found) == {"unreadable"}
    assert "IndexError: index out of range in self" in found.findings[-1].message
    assert found.texts is not None
