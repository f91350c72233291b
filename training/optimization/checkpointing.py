"""HF `Trainer` whose resumable checkpoints appear whole or not at all.

What a checkpoint holds and how it is read is `Trainer`'s: weights as safetensors; the optimiser,
the scheduler and the random states as `torch.save` writes them, and read with `weights_only=True`,
which makes tensors and plain values and runs no code.
"""

import shutil
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME

from rm_core.checkpoint.atomic import is_of_the_disk
from rm_core.errors import NotSaved
from training.modeling.reward_model import quiet_transformers
from training.optimization.resume import RunIdentity, complete_checkpoint, keep_newest

_KEPT = 2  # the newest, and the one before should the newest be damaged
_UNFINISHED = ".saving"


class CheckpointingTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """HF `Trainer` with durable checkpoints.

    Attributes:
        identity: of the run, for the checkpoints' markers; to be set before anything is saved.

    Args:
        options: `Trainer`'s.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.identity: RunIdentity | None = None
        self._save_under: Path | None = None

    def _get_output_dir(self, trial: Any) -> str:
        """Where `Trainer` makes `checkpoint-N`: out of sight until it is whole."""
        if self._save_under is not None:
            return str(self._save_under)
        return super()._get_output_dir(trial)  # type: ignore[no-any-return]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save under another name, on every process; then mark, sync and rename."""
        run_directory = Path(self.args.output_dir)
        unfinished = run_directory / _UNFINISHED
        name = f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            shutil.rmtree(unfinished, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._save_under = unfinished
        try:
            with quiet_transformers():
                super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process writes its random state
            if self.args.should_save:
                # The arguments are pickled, and nothing reads them.
                (unfinished / name / TRAINING_ARGS_NAME).unlink(missing_ok=True)
                self._complete(unfinished / name, run_directory / name)
                unfinished.rmdir()
                keep_newest(run_directory, _KEPT)
        except Exception as error:
            if self.args.should_save:
                shutil.rmtree(unfinished, ignore_errors=True)  # room on a full disk
            if not is_of_the_disk(error):
                raise
            raise NotSaved(
                f"{name} could not be saved in {run_directory} ({error}); make room and go on "
                "from the last whole checkpoint with --resume"
            ) from error
        finally:
            self._save_under = None
        self.accelerator.wait_for_everyone()

    def _complete(self, written: Path, place: Path) -> None:
        if self.identity is None:
            raise ValueError("checkpoints are saved only by a trainer that knows its run")
        complete_checkpoint(written, place, self.identity)
