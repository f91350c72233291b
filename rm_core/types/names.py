"""What loaded models are called, and the numbers that they run in."""

from typing import Literal

ModelName = str
"""What a loaded reward model is called; the engine takes as many as there are names."""

Role = Literal["safety", "helpfulness"]
ROLES: tuple[Role, ...] = ("safety", "helpfulness")
"""The two names that mean something: to LLaMA-2's rule, the settings, the wire and training."""

AttentionChoice = Literal["auto", "torch", "native"]
"""What computes attention on the CPU: torch, our own compiled code, or the latter where it can."""

DType = Literal["auto", "float32", "bfloat16", "float16", "int8"]
"""Numbers of the forward pass; auto is float32 on the CPU and bfloat16 on CUDA."""
