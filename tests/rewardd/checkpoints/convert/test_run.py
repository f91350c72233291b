"""What every project's arithmetic gives, the converted checkpoint gives: bit-equal weights."""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from rewardd.checkpoints.convert.run import ConvertOptions, convert
from rewardd.checkpoints.convert.source import ReadOptions
from rm_core.checkpoint.manifest import (
    MANIFEST_NAME,
    RewardModelManifest,
    read_manifest,
    write_manifest,
)
from rm_core.engine.engine import load_engine
from rm_core.errors import CheckpointError, ConfigurationError, NotSaved, UnsafeCheckpoint
from rm_core.text.contract import default_contract
from rm_core.types import Dialogue
from tests.models import COMMON, EOS, PAD, classifier_of, make_tokenizer, save_checkpoint
from tests.rewardd.checkpoints.convert import foreign
from tests.rewardd.checkpoints.convert.comparing import (
    assert_same,
    converted,
    ids_and_rewards,
    tensors,
)
from tests.rewardd.checkpoints.convert.foreign import Foreign
from tests.rewards import own_rewards
from tests.rm_core.text.encoders import pair_tokenizer
from tests.training.full_disk import disk_full_after
from training.errors import ScoresDiffer

Builder = Callable[[Path], Foreign]

SOURCES: dict[str, Builder] = {
    "llama-factory": foreign.llama_factory,
    "llama-factory-gpt2": partial(foreign.llama_factory, architecture="gpt2"),
    "llama-factory-untied": partial(foreign.llama_factory, tie_word_embeddings=False),
    "llama-factory-pickled-head": partial(foreign.llama_factory, pickled=True),
    "trl": foreign.trl,
    "trl-wrapped": partial(foreign.trl, wrapped=True),
    "trl-sharded": partial(foreign.trl, sharded=True),
    "trl-gpt2": partial(foreign.trl, architecture="gpt2", tie_word_embeddings=True),
    "openrlhf": foreign.openrlhf,
    "openrlhf-value-head": partial(foreign.openrlhf, prefix="value_head", named=False),
    "openrlhf-qwen2": partial(foreign.openrlhf, architecture="qwen2"),
    "deepspeed-chat": foreign.deepspeed_chat,
    "deepspeed-chat-first-release": partial(foreign.deepspeed_chat, trunk_name="rwtranrsformer"),
    "deepspeed-chat-opt": partial(foreign.deepspeed_chat, architecture="opt"),
    "deepspeed-chat-llama": partial(foreign.deepspeed_chat, architecture="llama"),
}


def manifest_of(directory: Path) -> RewardModelManifest:
    manifest = read_manifest(directory)
    assert manifest is not None
    return manifest


@pytest.fixture(scope="module", params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    return SOURCES[request.param](tmp_path_factory.mktemp("foreign") / request.param)


def test_weights_and_rewards_are_the_projects_own(source: Foreign, tmp_path: Path) -> None:
    result = converted(source, tmp_path / "ours")

    wanted = {**source.trunk, "score.weight": source.head}
    if source.bias is not None:
        wanted["score.bias"] = source.bias
    assert_same(tensors(tmp_path / "ours"), wanted)
    found = ids_and_rewards(load_engine({"helpfulness": str(tmp_path / "ours")}))
    assert [reward for _, reward in found] == pytest.approx(
        [source.oracle(ids) for ids, _ in found], abs=1e-5
    )
    assert source.directory.name.startswith(result.layout)
    assert result.agreement is not None
    assert result.agreement.largest_difference <= 1e-5


def test_plain_transformers_gives_the_projects_rewards_but_for_the_constant(
    source: Foreign, tmp_path: Path
) -> None:
    result = converted(source, tmp_path / "plain", target="transformers")

    constant = 0.0 if source.bias is None else 1.5
    assert result.written.dropped_constant == constant
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain")
    ids = [*range(40, 60)]
    with torch.inference_mode():
        plain = float(model(torch.tensor([ids])).logits[0, 0])
    assert plain + constant == pytest.approx(source.oracle(ids), abs=1e-5)
    assert not (tmp_path / "plain" / MANIFEST_NAME).exists()


@pytest.mark.parametrize("target", ["llama-factory", "trl"])
def test_a_value_head_comes_back_to_the_bit(target: Any, tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")
    converted(source, tmp_path / "ours")

    convert(str(tmp_path / "ours"), tmp_path / "back", ConvertOptions(target=target))

    values = {"v_head.summary.weight": source.head, "v_head.summary.bias": source.bias}
    if target == "llama-factory":
        assert_same(load_file(tmp_path / "back" / "value_head.safetensors"), values)
        assert_same(load_file(tmp_path / "back" / "model.safetensors"), source.trunk)
    else:
        assert_same(tensors(tmp_path / "back"), {**source.trunk, **values})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    ids = [*range(40, 60)]
    with torch.inference_mode():
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    reward = states[0, -1] @ source.head[0] + source.bias
    assert float(reward) == pytest.approx(source.oracle(ids), abs=1e-5)


def test_a_way_through_plain_transformers_keeps_constant_and_contract(tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")
    converted(source, tmp_path / "ours")
    convert(str(tmp_path / "ours"), tmp_path / "plain", ConvertOptions(target="transformers"))

    convert(str(tmp_path / "plain"), tmp_path / "again", ConvertOptions(role="helpfulness"))

    assert_same(tensors(tmp_path / "again"), tensors(tmp_path / "ours"))
    assert manifest_of(tmp_path / "ours").position == manifest_of(tmp_path / "again").position


def test_openrlhfs_mean_and_std_become_the_baseline_and_come_back(tmp_path: Path) -> None:
    source = foreign.openrlhf(tmp_path / "source")
    converted(source, tmp_path / "ours")
    convert(str(tmp_path / "ours"), tmp_path / "back", ConvertOptions(target="openrlhf"))

    baseline = manifest_of(tmp_path / "ours").baseline
    assert baseline is not None
    assert (baseline.mean, baseline.std) == (0.25, 1.75)
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert (config["mean"], config["std"], config["value_head_prefix"]) == (0.25, 1.75, "score")
    assert_same(tensors(tmp_path / "back"), tensors(source.directory))


def test_a_dropped_constant_is_taken_from_openrlhfs_mean_too(tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")
    config = source.directory / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "mean": 2.0, "std": 0.5}))
    converted(source, tmp_path / "ours")

    convert(str(tmp_path / "ours"), tmp_path / "theirs", ConvertOptions(target="openrlhf"))

    told = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert told["mean"] == 2.0 - 1.5
    assert told["std"] == 0.5


def test_openrlhf_reads_the_eos_that_ends_the_template_and_no_line_break(tmp_path: Path) -> None:
    """The oracle is OpenRLHF's own preparation: rstrip, EOS where absent, nothing else added."""
    tokenizer = make_tokenizer(chat=True, pad_is_eos=True)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% endfor %}", "{{ '\n' }}{% endfor %}"
    )
    source = foreign.openrlhf(tmp_path / "source", tokenizer=tokenizer)
    converted(source, tmp_path / "ours")
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]

    text = tokenizer.apply_chat_template(messages, tokenize=False).rstrip("\n")
    wanted = tokenizer(text, add_special_tokens=False)["input_ids"]

    engine = load_engine({"helpfulness": str(tmp_path / "ours")})
    item = engine.encode(Dialogue("Hi", "Yo"))
    assert list(item.by_model["helpfulness"].input_ids) == wanted
    assert wanted[-1] == EOS
    reward = own_rewards(engine, [item])[0]["helpfulness"]
    assert reward == pytest.approx(source.oracle(wanted), abs=1e-5)


def test_deepspeed_chat_reads_the_token_before_the_eos(tmp_path: Path) -> None:
    source = foreign.deepspeed_chat(tmp_path / "source")
    converted(source, tmp_path / "ours")
    engine = load_engine({"helpfulness": str(tmp_path / "ours")})

    bare, ended = (engine.encode(Dialogue("a", f"bc{end}")) for end in ("", "</s>"))

    rewards = [rewards["helpfulness"] for rewards in own_rewards(engine, [bare, ended])]
    assert ended.by_model["helpfulness"].input_ids[-1] == EOS
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-6)
    ids = ended.by_model["helpfulness"].input_ids
    assert rewards[1] == pytest.approx(source.oracle(ids), abs=1e-5)


def test_deepspeed_chat_told_to_skip_a_pad_reads_the_eos(tmp_path: Path) -> None:
    source = foreign.deepspeed_chat(tmp_path / "source")

    result = converted(source, tmp_path / "ours", reading=ReadOptions(num_padding_at_beginning=1))

    assert (result.position.eos, result.position.read) == ("if_absent", "last_token")
    engine = load_engine({"helpfulness": str(tmp_path / "ours")})
    ids = engine.encode(Dialogue("a", "b")).by_model["helpfulness"].input_ids
    assert ids[-1] == EOS


def test_bfloat16_stays_bfloat16_and_scores_in_float32(tmp_path: Path) -> None:
    source = foreign.trl(tmp_path / "source", dtype=torch.bfloat16)

    converted(source, tmp_path / "ours")

    kept = tensors(tmp_path / "ours")
    assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    found = ids_and_rewards(load_engine({"helpfulness": str(tmp_path / "ours")}))
    assert [reward for _, reward in found] == pytest.approx(
        [source.oracle(ids) for ids, _ in found], abs=1e-5
    )


def test_an_encoder_passes_through_with_the_head_of_its_own(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "bert", "bert")

    result = convert(str(directory), tmp_path / "ours", ConvertOptions(role="safety"))

    assert_same(tensors(tmp_path / "ours"), tensors(directory))
    assert result.agreement is not None
    with pytest.raises(CheckpointError, match="causal"):
        convert(str(directory), tmp_path / "theirs", ConvertOptions(target="trl"))


def test_a_pair_encoder_is_told_so_once_and_served_so(tmp_path: Path) -> None:
    directory = str(
        save_checkpoint(tmp_path / "bert", "bert", tokenizer=pair_tokenizer(), type_vocab_size=2)
    )
    prompt, response = "Is 27 prime?", "No."
    model: Any = AutoModelForSequenceClassification.from_pretrained(directory)
    inputs = AutoTokenizer.from_pretrained(directory)(prompt, response, return_tensors="pt")
    with torch.inference_mode():
        expected = float(model(**inputs).logits)

    result = convert(
        directory, tmp_path / "ours", ConvertOptions(role="helpfulness", rendering="pair")
    )
    engine = load_engine({"helpfulness": str(tmp_path / "ours")}, device="cpu")
    (found,) = own_rewards(engine, [engine.encode(Dialogue(prompt, response))])

    assert result.agreement is not None
    assert result.agreement.largest_difference < 1e-5
    assert found["helpfulness"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("verify", [True, False])
def test_the_manifest_tells_the_room_that_the_model_has(tmp_path: Path, verify: bool) -> None:
    """RoBERTa counts positions from the pad token's id on: its table of 640 rows holds 381."""
    directory = tmp_path / "roberta"
    classifier_of(AutoConfig.for_model("roberta", **COMMON)).save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)

    convert(str(directory), tmp_path / "ours", ConvertOptions(role="helpfulness", verify=verify))
    engine = load_engine({"helpfulness": str(tmp_path / "ours")}, device="cpu")

    assert manifest_of(tmp_path / "ours").position.max_length == 640 - (PAD + 1)
    assert engine.describe()["helpfulness"]["max_length_reason"] is None


def test_a_position_that_the_target_does_not_read_leaves_nothing_behind(tmp_path: Path) -> None:
    """Told that the EOS is read, where plain transformers, padding with EOS, reads before it."""
    source = foreign.deepspeed_chat(tmp_path / "source")

    with pytest.raises(ScoresDiffer, match="--read"):
        converted(source, tmp_path / "plain", target="transformers", read="last_token")

    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_rewards_that_are_no_numbers_leave_nothing_behind(tmp_path: Path) -> None:
    source = foreign.openrlhf(tmp_path / "source")
    broken = source.directory / "model.safetensors"
    weights = load_file(broken)
    weights["score.weight"] = weights["score.weight"] * float("nan")
    save_file(weights, broken, metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match="not finite"):
        converted(source, tmp_path / "ours")

    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_pickles_are_read_only_where_the_user_says_so(tmp_path: Path) -> None:
    source = foreign.deepspeed_chat(tmp_path / "source")

    with pytest.raises(UnsafeCheckpoint, match="--allow-pickle"):
        converted(source, tmp_path / "ours", allow_pickle=False)
    result = converted(source, tmp_path / "ours", verify=False)

    assert "unpickled" in result.notes[0]
    assert manifest_of(tmp_path / "ours").training["converted"]["pickled"] is True


def test_our_manifest_says_where_the_model_came_from_and_how_equal_it_is(tmp_path: Path) -> None:
    source = foreign.trl(tmp_path / "source")

    converted(source, tmp_path / "ours")

    manifest = manifest_of(tmp_path / "ours")
    told = manifest.training["converted"]
    assert told["from"] == "trl"
    assert told["verified"]["probes"] >= 4
    assert told["verified"]["largest_difference"] <= 1e-5
    assert set(manifest.files) == {
        str(path.relative_to(tmp_path / "ours"))
        for path in (tmp_path / "ours").rglob("*")
        if path.is_file() and path.name != MANIFEST_NAME
    }


def test_a_head_that_averages_can_not_be_said_elsewhere(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "mean")
    contract = default_contract(make_tokenizer(), max_length=300)
    write_manifest(directory, RewardModelManifest(role="safety", position=contract, head="mean"))

    with pytest.raises(CheckpointError, match="averages"):
        convert(str(directory), tmp_path / "plain", ConvertOptions(target="transformers"))


def test_a_role_must_be_said_and_a_layout_must_change(tmp_path: Path) -> None:
    source = foreign.trl(tmp_path / "source")

    with pytest.raises(ConfigurationError, match="--role"):
        converted(source, tmp_path / "ours", role=None)
    with pytest.raises(ConfigurationError, match="already"):
        converted(source, tmp_path / "ours", target="trl")


def test_somebody_elses_directory_is_left_alone(tmp_path: Path) -> None:
    source = foreign.trl(tmp_path / "source")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")

    with pytest.raises(ConfigurationError, match="left alone"):
        converted(source, tmp_path / "thesis")


def test_a_finished_model_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    """A conversion would take a training's place without a word."""
    source = foreign.trl(tmp_path / "source")
    ours = tmp_path / "ours"
    converted(source, ours, role="safety", verify=False)
    before = (ours / MANIFEST_NAME).read_bytes()

    with pytest.raises(ConfigurationError, match="holds a finished model; choose another OUTPUT"):
        converted(source, ours, role="helpfulness", verify=False)
    assert (ours / MANIFEST_NAME).read_bytes() == before

    converted(source, ours, role="helpfulness", verify=False, overwrite=True)
    assert read_manifest(ours).role == "helpfulness"


def test_tokenizer_files_are_copied_where_the_pad_token_will_do(tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")

    converted(source, tmp_path / "ours", verify=False)

    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "ours" / name).read_bytes() == (source.directory / name).read_bytes()


def test_shards_hold_every_tensor_once(tmp_path: Path) -> None:
    source = foreign.trl(tmp_path / "source", sharded=True)
    shards = sorted(source.directory.glob("model-*.safetensors"))
    assert len(shards) > 2

    converted(source, tmp_path / "ours", verify=False)

    with safe_open(tmp_path / "ours" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert len(tensors(tmp_path / "ours")) == len(source.trunk) + 2


def test_a_full_disk_leaves_no_converted_checkpoint(tmp_path: Path) -> None:
    source, output = foreign.trl(tmp_path / "source"), tmp_path / "at" / "ours"
    output.parent.mkdir()

    for changes in range(40):
        with disk_full_after(changes, below=output.parent) as disk, suppress(NotSaved):
            convert(str(source.directory), output, ConvertOptions(role="safety", verify=False))
        if not disk.refused:
            break
        assert list(output.parent.iterdir()) == []

    assert changes >= 4  # weights, config, tokenizer, manifest, rename: each has failed
    assert load_engine({"safety": str(output)})
