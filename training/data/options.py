"""How records become examples: what of the training configuration the data depends on."""

from dataclasses import dataclass

from rm_core.checkpoint.manifest import HeadKind
from rm_core.types import Role, Truncation
from training.types import Margins, MarginTable, Target


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How records become examples.

    Attributes:
        role: the safety role leaves out pairs whose chosen response is unsafe and the other safe.
        margins: table of the margins that grades of strength stand for.
        heldout_fraction: share of prompts held out, of records that carry no split of their own.
        split_seed: changes which prompts those are.
        truncate: leave over-long responses out ("error"), or cut their prompts' left ("prompt").
        targets: what the objectives learn from; a training response of which nothing of that is
            known is left out. Held-out pairs are kept whatever is learned.
        head: "mean" leaves out responses whose first token can't be told.
    """

    role: Role
    margins: MarginTable | Margins = "small"
    heldout_fraction: float = 0.1
    split_seed: int = 0
    truncate: Truncation = "error"
    targets: frozenset[Target] = frozenset({"pairs"})
    head: HeadKind = "last_token"
