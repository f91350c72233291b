"""The demo's two reward models, from the bundled sample and nothing else.

A base model is language-modelled on the sample's train split; both reward models start from it.
The recipe was chosen by cross-validation inside the train split (docs/figures/training.md); it is
for a model of under a million parameters and 680 records, and no recipe for a real one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from rm_core.checkpoint.manifest import read_manifest, verify_files
from rm_core.errors import RewardError
from rm_core.types import ROLES, Role
from training.config import TrainingConfig
from training.data.formats import read_records
from training.data.prepare import train_side_dialogues
from training.modeling.small_lm import BaseModelConfig, check_parent, make_base_model
from training.pipeline import TrainingResult, train_reward_model
from training.progress import Progress, SilentProgress

SAMPLE = Path(__file__).parent / "sample"
"""The bundled sample: one JSONL file for each role."""


@dataclass(frozen=True, slots=True)
class DemoRecipe:
    """How the sample's models are made.

    Attributes:
        base: the language model.
        epochs: of each reward model.
        learning_rate: of each reward model.
        batch_size: prompts in an update.
        safety_auxiliary_weight: λ of the safety model's auxiliary loss. Preferences alone leave
            the reward's zero open, and the selection rule compares σ(reward) with 0.15: the
            sample's safety labels put the zero between safe and unsafe.
    """

    base: BaseModelConfig = field(default_factory=lambda: BaseModelConfig(epochs=6))
    epochs: float = 1.0
    learning_rate: float = 1e-3
    batch_size: int = 16
    safety_auxiliary_weight: float = 1.0


def train_sample_models(
    output: Path,
    *,
    recipe: DemoRecipe | None = None,
    sample: Path = SAMPLE,
    progress: Progress | None = None,
) -> Mapping[Role, TrainingResult | None]:
    """Make the base model and both reward models, except for those that already stand.

    Args:
        output: gets the directories "base", "safety" and "helpfulness".
        recipe: sizes and schooling; None: the demo's.
        sample: directory of safety.jsonl and helpfulness.jsonl, every record with its split.
        progress: told of each stage; None: silence.

    Returns:
        What each training left behind; None for a model that stood already with valid digests.

    Raises:
        RewardError: the sample can't be read or training failed.
    """
    recipe = recipe or DemoRecipe()
    progress = progress or SilentProgress()
    results: dict[Role, TrainingResult | None] = dict.fromkeys(ROLES)
    missing = [role for role in ROLES if not stands(output / role, role)]
    for role in ROLES:
        if role not in missing:
            progress.say(f"the {role} RM in {output / role} stands already")
    if not missing:
        return results
    with _one_thread():
        made = _make(missing, output, recipe, sample, progress)
    return {**results, **made}


def _make(
    missing: Sequence[Role], output: Path, recipe: DemoRecipe, sample: Path, progress: Progress
) -> dict[Role, TrainingResult]:
    """Make the base model and the reward models that are missing."""
    base = output / "base"
    check_parent(base)
    progress.say(f"making a small language model in {base}")
    records = read_records([sample / f"{role}.jsonl" for role in ROLES]).records
    dialogues = train_side_dialogues(records, fraction=0.0, seed=0)
    callbacks = progress.callbacks("language model")
    make_base_model(dialogues, base, recipe.base, callbacks=callbacks)
    return {
        role: train_reward_model(
            demo_config(role, output, recipe, sample=sample), progress=progress
        )
        for role in missing
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread.

    Matrices this small gain little from a second thread, and threads that wait for each other are
    far slower where other work takes a core away, or a container has fewer than it sees.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def demo_config(role: Role, output: Path, recipe: DemoRecipe, *, sample: Path) -> TrainingConfig:
    """The demo's training configuration for one role."""
    return TrainingConfig(
        role=role,
        data=(str(sample / f"{role}.jsonl"),),
        base=str(output / "base"),
        output=str(output / role),
        epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        batch_size=recipe.batch_size,
        gradient_accumulation=1,
        safety_auxiliary_weight=recipe.safety_auxiliary_weight if role == "safety" else 0.0,
        logging_steps=5,
        overwrite=True,  # what does not stand is damaged
    )


def stands(directory: Path, role: Role) -> bool:
    """Whether a whole checkpoint of that role is there, every file as its manifest says."""
    try:
        manifest = read_manifest(directory)
        if manifest is None or manifest.role != role:
            return False
        verify_files(directory, manifest)
    except RewardError:
        return False
    return True
