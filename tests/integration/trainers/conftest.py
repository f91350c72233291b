"""Collected only where TRL is installed: `make test-integrations` brings environments of its own.

The PPO trainer is in none of TRL's newer releases; its tests are collected where it is there.

The reward model's preference is known because its weights are set by hand: it likes the letter a.
"""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("trl") else ["test_*.py"]
if not collect_ignore_glob and not importlib.util.find_spec("trl.experimental.ppo"):
    collect_ignore_glob = ["test_trl_ppo.py"]

ROOT = Path(__file__).parents[3]
LETTERS = "abcdefghijklmnopqrstuvwxyz "
WIDTH = 16


def make_tokenizer() -> Any:
    """One token per letter, so that every generated text is tokenised back as it was."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: index for index, letter in enumerate(LETTERS)}
    vocabulary |= {"</s>": len(LETTERS), "<pad>": len(LETTERS) + 1, "<unk>": len(LETTERS) + 2}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def config_of(tokenizer: Any, **more: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **more,
    )


def make_reward_model(tokenizer: Any) -> Any:
    """A Llama whose reward grows with f, the share of the letter a: 16f / √(1 + 16f²).

    Queries and keys of zero make attention a plain mean; its value is 4 for an a (a unit vector
    after RMSNorm over 16 dimensions) and 0 for all else, written where no embedding is.
    """
    import torch
    from transformers import LlamaForSequenceClassification

    config = config_of(
        tokenizer,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        num_labels=1,
        rms_norm_eps=1e-9,
    )
    model = LlamaForSequenceClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight[:, 1] = 1.0
        model.model.embed_tokens.weight[0, :2] = torch.tensor([1.0, 0.0])
        attention = model.model.layers[0].self_attn
        attention.v_proj.weight[0, 0] = 1.0
        attention.o_proj.weight[2, 0] = 1.0
        model.score.weight[0, 2] = 1.0
    return model.eval()


def make_policy(tokenizer: Any, *, seed: int = 0) -> Any:
    """A small random language model."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    config = config_of(
        tokenizer,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture(scope="session")
def reward_checkpoint(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reward model as a checkpoint."""
    directory = tmp_path_factory.mktemp("reward-model")
    make_reward_model(tokenizer).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def server_url(reward_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server of that model, run by the project's environment rather than the trainers'."""
    from tests.rm_client.servers import real_server

    python = ROOT / ".venv" / "bin" / "python"
    flags = ("--helpfulness-model", str(reward_checkpoint))
    python_path = str(python) if python.exists() else sys.executable
    with real_server(tmp_path_factory.mktemp("server"), *flags, python=python_path) as url:
        yield url
