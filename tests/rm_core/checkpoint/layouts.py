"""Checkpoints in layouts drawn at random, each with what is right: a reward, or a refusal.

A layout is a sound checkpoint and a few changes to it. Every change says what the reward then is,
in its own arithmetic on the tensors in memory, or which words a refusal must hold; nothing here
knows how rewardd reads files.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig

from tests.models import COMMON, EOS, PAD, classifier_of, make_tokenizer

TEXTS = (("How?", "Like this."), ("Ä b", "c </s>"), ("", "x" * 30))
SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "gpt2": {"n_inner": 24, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "bert": {},
    "roberta": {"hidden_dropout_prob": 0.0},
}
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
OTHER_TEMPLATE = "{% for m in messages %}!{{ m['content'] }}{% endfor %}"


@dataclass
class Layout:
    """A checkpoint before it is written.

    Attributes:
        model: as transformers made it, to compute with.
        config: of config.json.
        tensors: to write, by name.
        head: the decoder's reward of a hidden state; None where the model has its own.
        bias: added to it.
        template: by which texts are rendered; None: end to end.
        tokenizer: to write.
        files: others to write, by name.
        shards: into how many files the tensors go.
        refused: words one of which a refusal must hold; empty where it must be served.
        changes: names of what was done, for the message.
    """

    model: Any
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokenizer: Any
    head: Callable[[Tensor], Tensor] | None = None
    bias: float = 0.0
    template: str | None = None
    files: dict[str, Any] = field(default_factory=dict)
    shards: int = 1
    refused: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    @property
    def is_decoder(self) -> bool:
        """Whether a `score` head reads the trunk's states."""
        return "score.weight" in self.model.state_dict()

    @property
    def prefix(self) -> str:
        """Of the trunk's names."""
        return f"{self.model.base_model_prefix}."


def sound_layout(architecture: str, seed: int) -> Layout:
    """A checkpoint with nothing odd about it."""
    torch.manual_seed(seed)
    options = {**COMMON, **SMALL, **ARCHITECTURES[architecture]}
    model = classifier_of(AutoConfig.for_model(architecture, **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.1)
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    layout = Layout(model, config, tensors, make_tokenizer())
    if layout.is_decoder:
        layout.head = linear_head(tensors["score.weight"])
    return layout


def linear_head(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """A head of one layer, as a function."""
    return lambda state: weight.float() @ state


def write(layout: Layout, directory: Path) -> Path:
    """Write the checkpoint."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(layout.config))
    names = sorted(layout.tensors)
    parts = [names[index :: layout.shards] for index in range(layout.shards)]
    files = {
        f"model-{index + 1:05}-of-{layout.shards:05}.safetensors": part
        for index, part in enumerate(parts)
    }
    if layout.shards == 1:
        files = {"model.safetensors": names}
    for file, part in files.items():
        held = {name: layout.tensors[name].clone() for name in part}
        save_file(held, directory / file, metadata={"format": "pt"})
    if layout.shards > 1:
        index = {"metadata": {}, "weight_map": {n: f for f, part in files.items() for n in part}}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    layout.tokenizer.save_pretrained(directory)
    for file, content in layout.files.items():
        (directory / file).parent.mkdir(exist_ok=True)
        if callable(content):
            content(directory / file)
        else:
            (directory / file).write_text(content)
    return directory


def rewards(layout: Layout) -> list[float]:
    """What transformers' model makes of each text alone, with the head's arithmetic by hand."""
    found = []
    for prompt, response in TEXTS:
        text = prompt + response
        if layout.template == TEMPLATE:
            text = f"<user>{prompt}<assistant>{response}"  # which writes no end of its own
        ids = make_tokenizer()(text)["input_ids"]
        with torch.inference_mode():
            found.append(_reward(layout, ids))
    return found


def _reward(layout: Layout, ids: list[int]) -> float:
    if layout.head is None:
        return float(layout.model(input_ids=torch.tensor([ids])).logits[0, 0])
    states = layout.model.base_model(input_ids=torch.tensor([ids]))[0][0]
    pad = layout.config.get("pad_token_id")
    real = [i for i, token in enumerate(ids) if token != pad]
    return float(layout.head(states[real[-1] if real else 0])) + layout.bias


Change = Callable[[Layout, random.Random], None]


def stray_file(layout: Layout, draw: random.Random) -> None:
    """A file that transformers doesn't read, with a head in it."""
    held = {"score.bias": torch.tensor([3.0]), "score.weight": torch.ones(1, 16)}
    name = draw.choice(["old_head.safetensors", "model-00009-of-00009.safetensors"])
    layout.files[name] = lambda path: save_file(held, path)


def head_bias(layout: Layout, draw: random.Random) -> None:
    """A constant beside the head, which plain transformers drops."""
    if not layout.is_decoder:
        return
    layout.bias = round(draw.uniform(-3, 3), 3)
    layout.tensors["score.bias"] = torch.tensor([layout.bias])


def known_leftover(layout: Layout, draw: random.Random) -> None:
    """Tensors that a classifier doesn't need."""
    shapes = {
        "lm_head.weight": torch.ones(4, 16),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2),
        f"{layout.prefix}embeddings.position_ids": torch.arange(640)[None],
    }
    name = draw.choice(sorted(shapes))
    layout.tensors[name] = shapes[name]


def renamed_head(layout: Layout, draw: random.Random) -> None:
    """The head under a name of somebody's own."""
    if "score.weight" not in layout.tensors:
        return
    name = draw.choice(["regression_head", "v_head", "value_head", "reward_head", "rm.proj"])
    layout.tensors[f"{name}.weight"] = layout.tensors.pop("score.weight")
    layout.refused.append(f"{name}.weight")


def second_head(layout: Layout, draw: random.Random) -> None:
    """A head beside the one that is read."""
    layout.tensors["reward_head.weight"] = torch.ones(1, 16)
    layout.refused.append("reward_head")


def dropped_tensor(layout: Layout, draw: random.Random) -> None:
    """A weight of the model that the files lack."""
    names = [name for name in layout.tensors if name in dict(layout.model.named_parameters())]
    if not names:
        return
    name = draw.choice(names)
    del layout.tensors[name]
    layout.refused.append(name)


def extra_bias(layout: Layout, draw: random.Random) -> None:
    """A bias that the config switches off; one of zeros adds nothing."""
    name = {
        "llama": f"{layout.prefix}layers.{draw.randrange(2)}.self_attn.q_proj.bias",
        "qwen2": f"{layout.prefix}layers.{draw.randrange(2)}.mlp.up_proj.bias",
    }.get(layout.config["model_type"], f"{layout.prefix}extra.bias")
    if draw.random() < 0.4:
        layout.tensors[name] = torch.zeros(16)
        return
    layout.tensors[name] = torch.ones(16)
    layout.refused.append(name.removeprefix(layout.prefix))


def unknown_tensor(layout: Layout, draw: random.Random) -> None:
    """A tensor that means something to somebody."""
    layout.tensors["adapter.scale"] = torch.ones(3)
    layout.refused.append("adapter.scale")


def prefix_left_out(layout: Layout, draw: random.Random) -> None:
    """The trunk's own names, as a base model saves them."""
    layout.tensors = {name.removeprefix(layout.prefix): t for name, t in layout.tensors.items()}


def wrapped_names(layout: Layout, draw: random.Random) -> None:
    """What DDP, torch.compile, peft or TRL put before every name."""
    wrapper = draw.choice(["module.", "_orig_mod.", "base_model.model.", "pretrained_model."])
    layout.tensors = {f"{wrapper}{name}": tensor for name, tensor in layout.tensors.items()}
    layout.refused.append(wrapper)


def doubled_name(layout: Layout, draw: random.Random) -> None:
    """One parameter under two names, with other numbers."""
    name = draw.choice([n for n in layout.tensors if n.startswith(layout.prefix)] or [""])
    if name:
        layout.tensors[name.removeprefix(layout.prefix)] = layout.tensors[name] + 1
        layout.refused.append(name.removeprefix(layout.prefix))


def shards(layout: Layout, draw: random.Random) -> None:
    """Several files under an index."""
    layout.shards = draw.randrange(2, 5)


def dtypes(layout: Layout, draw: random.Random) -> None:
    """Some tensors in bfloat16; the numbers are then those."""
    chosen = {n for n, t in layout.tensors.items() if t.is_floating_point() and draw.random() < 0.5}
    kept = layout.model.state_dict()
    for name in chosen:
        layout.tensors[name] = layout.tensors[name].to(torch.bfloat16)
        own = next((n for n in (name, f"{layout.prefix}{name}") if n in kept), None)
        if own is not None and kept[own].shape == layout.tensors[name].shape:
            kept[own].copy_(layout.tensors[name].float())
    if layout.is_decoder and "score.weight" in layout.tensors:
        layout.head = linear_head(layout.tensors["score.weight"])
    if "score.bias" in chosen:
        layout.bias = float(layout.tensors["score.bias"])


def odd_pad(layout: Layout, draw: random.Random) -> None:
    """A pad token that is EOS, none, or in generation_config.json alone."""
    if layout.config["model_type"] == "roberta":
        return  # positions count from its pad token
    layout.config["pad_token_id"] = draw.choice([EOS, None, PAD])
    layout.files["generation_config.json"] = json.dumps({"pad_token_id": draw.choice([EOS, 7])})


def named_templates(layout: Layout, draw: random.Random) -> None:
    """Chat templates by name, of which the default one renders."""
    default = draw.random() < 0.6
    names = {("default" if default else "rag"): TEMPLATE, "tool_use": OTHER_TEMPLATE}
    layout.template = TEMPLATE
    if draw.random() < 0.5:
        layout.files["additional_chat_templates/tool_use.jinja"] = OTHER_TEMPLATE
        first = "chat_template.jinja" if default else "additional_chat_templates/rag.jinja"
        layout.files[first] = TEMPLATE
    else:
        layout.tokenizer.chat_template = names
    if not default:
        layout.refused.append("tool_use")


def quantised(layout: Layout, draw: random.Random) -> None:
    """Weights in fewer bits, by config.json."""
    method = draw.choice(["bitsandbytes", "gptq", "awq", "fp8", "no-such-method"])
    layout.config["quantization_config"] = {"quant_method": method}
    layout.refused.append(method)


def wrong_type(layout: Layout, draw: random.Random) -> None:
    """A key of config.json with a value of another type."""
    key, value = draw.choice(
        [
            ("vocab_size", "many"),
            ("architectures", "LlamaForSequenceClassification"),
            ("id2label", ["reward"]),
            ("num_labels", "one"),
            ("model_type", "no_such_model"),
        ]
    )
    layout.config[key] = value
    layout.refused.append("config.json")


def cut_file(layout: Layout, draw: random.Random) -> None:
    """A download that ended too early."""
    file = draw.choice(["model.safetensors", "tokenizer.json", "config.json"])

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: draw.randrange(5, 200)])

    if file != "model.safetensors" or layout.shards == 1:
        layout.files[file] = cut
        layout.refused.append(file.partition(".")[0])


CHANGES: tuple[Change, ...] = (
    stray_file,
    head_bias,
    known_leftover,
    extra_bias,
    prefix_left_out,
    shards,
    dtypes,
    odd_pad,
    named_templates,
)
FAULTS: tuple[Change, ...] = (
    renamed_head,
    second_head,
    dropped_tensor,
    unknown_tensor,
    wrapped_names,
    doubled_name,
    quantised,
    wrong_type,
    cut_file,
)


def drawn_layout(seed: int) -> Layout:
    """A layout of its own for every seed: an architecture, a few changes, at times a fault."""
    draw = random.Random(seed)
    layout = sound_layout(draw.choice(sorted(ARCHITECTURES)), seed)
    faults = draw.sample(FAULTS, draw.choice([0, 0, 0, 1, 1, 2]))
    for change in (*draw.sample(CHANGES, draw.choice([1, 2, 3])), *faults):
        change(layout, draw)
        layout.changes.append(change.__name__)
    return layout
