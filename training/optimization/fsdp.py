"""FSDP trains shards of a model in place; this brings the whole of it back when it is trained."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

from training.modeling.reward_model import TrainableModel


class WholeModel:
    """Where a trained model is put together again.

    Args:
        trainer: HF `Trainer` before it trains; the model is neither wrapped nor attached to a
            layout yet.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._copy: Any = None
        if trainer.is_fsdp_enabled and trainer.is_world_process_zero():
            self._copy = deepcopy(trainer.model)

    def after(self, start: TrainableModel) -> TrainableModel:
        """The trained model; every process must call it.

        Args:
            start: what training started from.

        Returns:
            `start` itself unless FSDP sharded it; then, on process 0, with a whole model.
        """
        if not self._trainer.is_fsdp_enabled:
            return start
        state = self._trainer.accelerator.get_state_dict(self._trainer.model)
        if self._copy is None:
            return start
        self._copy.load_state_dict(state)
        return replace(start, model=self._copy.eval())
