"""How a batch of responses goes through the model, and where the head reads it.

A layout turns encoded responses into tensors and those into rewards; what the rewards are asked for
is the objective's business. `PaddedLayout` is the way every model can go.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from types import MethodType
from typing import Any, Protocol

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch.nn.functional import linear

from rm_core.engine.packing.distinct import distinct_reads
from rm_core.errors import ConfigurationError
from rm_core.types import Encoded


class BatchLayout(Protocol):
    """A way to lay a batch out and to run it with gradients."""

    @property
    def name(self) -> str:
        """Either "padded" or "packed"."""
        ...

    def attached(self, model: Any) -> AbstractContextManager[None]:
        """Let `rewards` run through whatever wraps the model meanwhile (DDP, FSDP, autocast).

        Enter it before the model is wrapped, for the whole of a training; the model is left as
        plain transformers. Without wrappers `rewards` needs it too only where it says so.
        """
        ...

    def collate(self, encoded: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> dict[str, Any]:
        """A batch for `rewards`, in which equal responses stand once.

        Args:
            encoded: the responses with their prompts, at least one.
            reads: of each response, the positions in its ids at which the head is read, ascending,
                at least one.
        """
        ...

    def rewards(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """What the head reads, with gradients.

        Args:
            model: a sequence-classification model with one label, wrapped or not.
            inputs: a batch of `collate`, on the model's device; further keys don't matter.

        Returns:
            (total reads,), float32: responses in order, then each one's reads.
        """
        ...


class PaddedLayout:
    """Rows padded at the right, through the trunk as transformers runs it.

    Args:
        pad_token_id: the model's pad token; no EOS, or transformers' read position would move.
    """

    name = "padded"

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id
        self._attached: Any = None

    @contextmanager
    def attached(self, model: Any) -> Iterator[None]:
        """Put the layout's run in the place of the model's `forward` for a while."""
        bare = bare_model(model)
        with replaced_forward(bare, _padded_rewards):
            self._attached = bare
            try:
                yield
            finally:
                self._attached = None

    def collate(self, encoded: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> dict[str, Any]:
        """`input_ids` and `attention_mask`, (distinct responses, longest), and what is read there.

        `read_at` is the row and the position of each distinct read, (2, reads); `read_order` is, of
        each read, where among those it stands, (total reads,).
        """
        once = distinct_reads(encoded, reads)
        rows = [row for row, own in enumerate(once.reads) for _ in own]
        positions = list(chain.from_iterable(once.reads))
        return {
            **pad_right(once.texts, self._pad_token_id),
            "read_at": torch.tensor([rows, positions], dtype=torch.long),
            "read_order": torch.tensor(once.order),
        }

    def rewards(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Rewards at the read positions, (total reads,), float32; see `BatchLayout`."""
        own = {name: inputs[name] for name in ("input_ids", "attention_mask", "read_at")}
        bare = bare_model(model)
        rewards: Tensor = model(**own) if bare is self._attached else _padded_rewards(bare, **own)
        return rewards[inputs["read_order"]]


def pad_right(encoded: Sequence[Encoded], pad_token_id: int) -> dict[str, Tensor]:
    """Token ids and attention mask, (responses, longest), int64, padding at the right.

    Args:
        encoded: at least one sequence.
        pad_token_id: the model's pad token; no EOS, or the read position would move.
    """
    longest = max(item.num_tokens for item in encoded)
    input_ids = torch.full((len(encoded), longest), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros((len(encoded), longest), dtype=torch.long)
    for row, item in enumerate(encoded):
        input_ids[row, : item.num_tokens] = torch.tensor(item.input_ids, dtype=torch.long)
        attention_mask[row, : item.num_tokens] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def bare_model(model: Any) -> Any:
    """The transformers model inside DDP, FSDP, a compiled module or peft."""
    inner = extract_model_from_parallel(model, keep_torch_compile=False)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


@contextmanager
def replaced_forward(model: Any, run: Callable[..., Tensor]) -> Iterator[None]:
    """Let a model compute `run(model, …)` when it is called, inside whatever wraps it.

    Args:
        model: a bare model.
        run: takes the model first; must accept keywords that it doesn't know, as peft adds some.
    """
    before = vars(model).get("forward")
    model.forward = MethodType(run, model)  # an instance attribute hides the class's method
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before


def read_head(model: Any, hidden: Tensor) -> Tensor:
    """Rewards of hidden states, in float32 whatever the trunk's precision.

    Args:
        model: a bare model with a `score` head of one output.
        hidden: (reads, hidden), any float dtype.

    Returns:
        (reads,), float32.
    """
    head = model.score
    with torch.autocast(hidden.device.type, enabled=False):
        if type(head) is nn.Linear:
            bias: Tensor | None = head.bias
            precise = None if bias is None else bias.float()
            return linear(hidden.float(), head.weight.float(), precise).squeeze(-1)
        # Wrapped by peft, for one; it knows which of its copies is trained.
        dtype = next(head.parameters()).dtype
        rewards: Tensor = head(hidden.to(dtype)).float().squeeze(-1)
        return rewards


def _padded_rewards(
    model: Any, input_ids: Tensor, attention_mask: Tensor, read_at: Tensor, **_: Any
) -> Tensor:
    if not isinstance(getattr(model, "score", None), nn.Module):
        return _rewards_of_a_foreign_head(model, input_ids, attention_mask, read_at)
    hidden: Tensor = model.base_model(
        input_ids=input_ids, attention_mask=attention_mask, use_cache=False
    ).last_hidden_state
    return read_head(model, hidden[read_at[0], read_at[1]])


def _rewards_of_a_foreign_head(
    model: Any, input_ids: Tensor, attention_mask: Tensor, read_at: Tensor
) -> Tensor:
    """Rewards of a model that is not a trunk and a linear map, an encoder for one."""
    ends = attention_mask.sum(dim=1) - 1
    if len(ends) != read_at.shape[1] or not torch.equal(ends, read_at[1]):
        raise ConfigurationError(
            f"{type(model).__name__} has no head that can be read within a response; train a "
            "decoder, or with an objective that reads the last token alone"
        )
    forward = type(model).forward  # the instance's may be ours
    rewards: Tensor = forward(model, input_ids=input_ids, attention_mask=attention_mask).logits
    return rewards.squeeze(-1).float()  # (responses, 1) -> (responses,)
