"""The checkpoints that one loading holds open: a model's, and that of the base it may sit on."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rm_core.checkpoint.held_files import HeldFiles, told_by_source
from rm_core.checkpoint.trial import Trial
from rm_core.errors import UnsafeCheckpoint


@dataclass(frozen=True, slots=True)
class Caution:
    """How little checkpoints are trusted; without any, as those that one made oneself.

    Attributes:
        within: the directory that all must lie in, adapters' bases too, links followed; None: they
            may lie anywhere.
        trial: where each is tried before it is loaded; None: nowhere.
    """

    within: Path | None = None
    trial: Trial | None = None


NO_CAUTION = Caution()


class OpenFiles:
    """Holds checkpoints' files until the loading ends; errors name the checkpoints' own places.

    Args:
        stack: of the loading.
        caution: where every checkpoint must lie, and where it is tried.
        keep_open: whether shared trunks may ask the files after the loading, and so close them.
    """

    def __init__(self, stack: ExitStack, caution: Caution, *, keep_open: bool) -> None:
        self._stack = stack
        self._caution = caution
        self._keep_open = keep_open

    def __call__(self, directory: Path, weights: Sequence[Path]) -> HeldFiles:
        """Open a checkpoint's files; see `HeldFiles`.

        Raises:
            UnsafeCheckpoint: it is not where it must lie, or a file is none of its own.
        """
        if self._caution.within is not None:
            refuse_elsewhere(directory, self._caution.within)
        files = HeldFiles(directory, weights)
        if not self._keep_open:
            self._stack.callback(files.close)
        self._stack.enter_context(told_by_source(files))
        return files

    def try_all(
        self,
        name: str,
        files: HeldFiles,
        *,
        weights: Sequence[Path],
        adapter: HeldFiles | None = None,
    ) -> None:
        """Try what will be loaded of these files, where the loading has a trial; see `Trial`.

        Args:
            name: of the checkpoint, for messages.
            files: that are held.
            weights: those whose model is built; none: the tokenizer alone is tried.
            adapter: the files of the adapter that goes on it; None for none.

        Raises:
            CheckpointError: it did not get through.
        """
        trial = self._caution.trial
        if trial is not None:
            where = None if adapter is None else adapter.path
            trial.try_checkpoint(name, files.path, weights=weights, adapter=where)


def refuse_elsewhere(directory: Path, within: Path) -> None:
    """Refuse a checkpoint that lies outside of a directory, links followed.

    Raises:
        UnsafeCheckpoint: it does, or it is that directory itself.
    """
    real, root = Path(os.path.realpath(directory)), Path(os.path.realpath(within))
    if root not in real.parents:
        raise UnsafeCheckpoint(
            f"{directory} is not in {within}, where models are taken from; put it there"
        )
