"""Tree attention: one function behind transformers' AttentionInterface for every decoder.

`tree` decides which kernel a call takes: `native` (float32 on the CPU, where it could be compiled),
`merged` (CPU), `varlen` (CUDA in half precision) or `masked` (everything else, and what the others
leave of windows and soft-caps).
"""

from rm_core.engine.attention.tree import (
    ATTENTION_NAME,
    TreePlan,
    tree_attention,
    tree_attention_at,
)

__all__ = ["ATTENTION_NAME", "TreePlan", "tree_attention", "tree_attention_at"]
