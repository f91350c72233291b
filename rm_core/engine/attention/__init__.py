"""Tree attention: one function behind transformers' AttentionInterface for every decoder.

`tree` decides which kernel a call takes: `merged` (CPU), `varlen` (CUDA in half precision) or
`masked` (everything else, and windows and soft-caps everywhere).
"""

from rm_core.engine.attention.tree import ATTENTION_NAME, TreePlan, tree_attention

__all__ = ["ATTENTION_NAME", "TreePlan", "tree_attention"]
