"""T10: one BOS, one EOS, and the same ids in training and in serving, whatever the tokenizer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rm_core.engine import load_engine
from rm_core.types import Dialogue, Message
from tests.models import make_tokenizer
from tests.rewards import own_rewards
from tests.training.made_up import published
from tests.training.modeling.test_reward_model import save_encoder
from training.modeling.reward_model import reward_model_from

LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]\n\n"
    "{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
)
CHATML = "{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
OPEN_END = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def with_template(template: str, **kind: bool) -> Any:
    tokenizer = make_tokenizer(**kind)
    tokenizer.chat_template = template
    return tokenizer


def without(*names: str, template: str | None = None) -> Any:
    tokenizer = make_tokenizer()
    for name in names:
        setattr(tokenizer, name, None)
    tokenizer.chat_template = template
    return tokenizer


def sentencepiece() -> Any:
    """Pieces with a space put in front of every text, and a BOS by the tokenizer."""
    letters = [(character, -3.0) for character in "\u2581abcdefghijklmnopqrstuvwxyz.?:\n"]
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *letters, ("\u2581be", -1.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


KINDS: dict[str, Callable[[], Any]] = {
    "template with both": lambda: make_tokenizer(chat=True),
    "template and tokenizer write BOS": lambda: with_template(LLAMA_3, add_bos=True),
    "pad is EOS": lambda: with_template(LLAMA_3, pad_is_eos=True),
    "ends its turn with EOS and a line": lambda: with_template(CHATML),
    "template without end": lambda: with_template(OPEN_END),
    "no BOS": lambda: without("bos_token", template=CHATML),
    "no pad": lambda: without("pad_token", template=LLAMA_3),
    "no template": make_tokenizer,
    "no template, BOS by the tokenizer": lambda: make_tokenizer(add_bos=True),
    "no template, both by the tokenizer": lambda: make_tokenizer(add_bos=True, add_eos=True),
    "no template, no BOS, no pad": lambda: without("bos_token", "pad_token"),
    "sentencepiece": sentencepiece,
}
DIALOGUES = [
    Dialogue(prompt, response)
    for prompt in ("why?", "", " two\n\nlines \n", "\u4e24\u4e2a \U0001f642")
    for response in ("because.", " padded  ", "a\n", "\u00e9t\u00e9", "done</s>")
]
CHATS = [
    Dialogue((Message("user", "hi"), Message("assistant", "yes?"), Message("user", "why?")), "so."),
    Dialogue((Message("system", "be brief."), Message("user", "why?")), "so."),
]


def base_of(directory: Path, tokenizer: Any) -> str:
    """A small language model with that tokenizer."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def encoded_in_both(base: str, directory: Path, dialogues: list[Dialogue]) -> list[Any]:
    """What training reads, once the server, loaded from the checkpoint, has read the same."""
    start = reward_model_from(base, max_length=128, seed=0)
    output = directory / "out"
    published(start, output)
    engine = load_engine({"safety": str(output)})
    trained = [start.encoder.encode(dialogue) for dialogue in dialogues]
    assert [engine.encode(dialogue).by_model["safety"] for dialogue in dialogues] == trained
    rewards = [
        float(found["safety"]) for found in own_rewards(engine, [*map(engine.encode, dialogues)])
    ]
    plain = AutoModelForSequenceClassification.from_pretrained(output).eval()
    with torch.inference_mode():
        alone = [plain(input_ids=torch.tensor([one.input_ids])).logits.item() for one in trained]
    assert rewards == pytest.approx(alone, abs=1e-5)  # read where transformers reads
    return trained


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_on_is_what_is_served_with_one_bos_and_one_eos(
    kind: str, tmp_path: Path
) -> None:
    tokenizer = KINDS[kind]()
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    dialogues = DIALOGUES + (CHATS if tokenizer.chat_template else [])

    trained = encoded_in_both(base_of(tmp_path / "base", tokenizer), tmp_path, dialogues)

    for dialogue, encoded in zip(dialogues, trained, strict=True):
        ids = list(encoded.input_ids)
        assert encoded.warnings == ()
        if kind == "no template":  # whose tokenizer has a BOS and writes none, nor did its base
            assert bos not in ids
        elif bos is not None:
            assert (ids[0], ids.count(bos)) == (bos, 1)
        end = ids[-2:] if kind in {"ends its turn with EOS and a line", "no BOS"} else ids[-1:]
        assert end.count(eos) == 1
        assert ids[-2:] != [eos, eos]
        assert encoded.read_position == len(ids) - 1
        assert len(ids) > 1 + len(str(dialogue.response).strip()) // 8


@pytest.mark.parametrize("side", ["left", "right"])
def test_transformers_own_batches_padded_on_either_side_give_each_texts_reward(
    side: str, tmp_path: Path
) -> None:
    base = base_of(tmp_path / "base", KINDS["pad is EOS"]())
    trained = encoded_in_both(base, tmp_path, DIALOGUES)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", padding_side=side)

    rows = [{"input_ids": list(encoded.input_ids)} for encoded in trained]
    with torch.inference_mode():
        found = plain(**tokenizer.pad(rows, return_tensors="pt")).logits[:, 0]
        alone = [plain(input_ids=torch.tensor([row["input_ids"]])).logits.item() for row in rows]

    assert found.tolist() == pytest.approx(alone, abs=1e-5)


def test_an_encoder_reads_its_own_marks_once_in_training_and_in_serving(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base")
    dialogues = [Dialogue("Why?", "So."), Dialogue("Is it?", "Yes it is.")]

    trained = encoded_in_both(base, tmp_path, dialogues)

    tokenizer = reward_model_from(base, max_length=64, seed=0).tokenizer
    for encoded in trained:
        assert encoded.input_ids.count(tokenizer.cls_token_id) == 1
        assert encoded.input_ids.count(tokenizer.sep_token_id) == 2  # one a turn
