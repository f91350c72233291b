"""Reward models whose rewards are the same bits on every processor, and tell every text apart.

A Llama of two layers with weights set by hand. Its residual stream holds one huge constant, beside
which nothing else counts in an RMSNorm: its scale is an exact power of two. A layer's attention is
the plain mean of its values, which processors round differently; it is added to a large constant,
and that addition rounds it to a grid of sixteenths (the second layer's: of sixty-fourths) long
before the processors' differences. The first layer's mean is of the tokens up to each, the second's
of those means, so that the order of the tokens counts too.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from tests.models import VOCABULARY, make_model, make_tokenizer

HIDDEN, HEADS, MAX_LENGTH = 64, 4, 200
# Places in the residual stream.
FIRST, HUGE, SECOND, FEATURE, ONE = range(5)
HUGE_VALUE = 2.0**40
NORM_SCALE = 2.0**37  # sqrt(mean of squares) = sqrt(2^80 / 64)
# Adding x to these rounds it to 2^-4 and to 2^-6.
FIRST_VALUE, SECOND_VALUE = 1.5 * 2.0**19, 1.5 * 2.0**17
# Keeps means of small integers off the middle between two points of the grid.
FIRST_GAIN = 1.0137


def make_exact_model(seed: int, *, gain: float, shift: float) -> Any:
    """A model whose rewards are exact sixty-fourths.

    Args:
        seed: chooses what each token counts.
        gain: stretches the rewards; not a short binary fraction, for the reason of `FIRST_GAIN`.
        shift: of all rewards, a multiple of 1/64.
    """
    model = make_model(
        "llama",
        hidden_size=HIDDEN,
        num_key_value_heads=HEADS,
        max_position_embeddings=MAX_LENGTH,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(NORM_SCALE if "norm" in name else 0.0)
        embedding = model.model.embed_tokens.weight
        embedding[:, HUGE], embedding[:, ONE] = HUGE_VALUE, 1.0
        embedding[:, FIRST], embedding[:, SECOND] = FIRST_VALUE, SECOND_VALUE
        features = torch.randint(-12, 13, (VOCABULARY,), generator=generator)
        embedding[:, FEATURE] = features.float()
        first, second = (layer.self_attn for layer in model.model.layers)
        first.v_proj.weight[0, FEATURE] = 1.0
        second.v_proj.weight[0, FIRST] = 1.0
        second.v_proj.weight[0, HUGE] = -FIRST_VALUE / HUGE_VALUE
        first.o_proj.weight[FIRST, 0] = FIRST_GAIN
        second.o_proj.weight[SECOND, 0] = gain
        head = model.score.weight
        head[0, SECOND], head[0, HUGE], head[0, ONE] = 1.0, -SECOND_VALUE / HUGE_VALUE, shift
    return model


def save_exact_checkpoints(directory: Path) -> dict[str, Path]:
    """Write a safety and a helpfulness model, each with its reward_model.json, by role."""
    tokenizer = make_tokenizer(chat=True)
    roles = {
        "safety": make_exact_model(6, gain=4.0137, shift=-4.0),
        "helpfulness": make_exact_model(9, gain=3.9871, shift=5.25),
    }
    saved = {}
    for role, model in roles.items():
        saved[role] = directory / role
        model.save_pretrained(saved[role])
        tokenizer.save_pretrained(saved[role])
        write_manifest(saved[role], role, tokenizer.chat_template)
    return saved


def write_manifest(directory: Path, role: str, template: str) -> None:
    """Write reward_model.json by hand: its form on the disk is a contract too."""
    template_sha256 = hashlib.sha256(template.encode()).hexdigest()
    position = {
        "rendering": "chat",
        "bos": "never",
        "eos": "if_absent",
        "read": "last_non_pad",
        "max_length": MAX_LENGTH,
        "template_sha256": template_sha256,
    }
    manifest: dict[str, Any] = {
        "format_version": 1,
        "role": role,
        "position": position,
        "baseline": {"mean": 0.25, "std": 1.5, "weight": 64.0},
    }
    if role == "safety":
        manifest |= {
            "temperature": 2.0,
            "bias": 0.5,
            "calibration": {"method": "none", "how": "set by hand"},
            "baseline_source": "made up",
            "reference_quantiles": {
                "probabilities": [0.25, 0.5, 0.75],
                "values": [-1.0, 0.0, 1.0],
                "responses": 64,
            },
            "safety_threshold": {"tau": 0.375, "how": "set by hand"},
        }
    files = [path for path in directory.iterdir() if path.name != "reward_model.json"]
    manifest["files"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)
    }
    (directory / "reward_model.json").write_text(json.dumps(manifest), "utf-8")
