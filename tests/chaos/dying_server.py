"""A server whose engine dies of what a text says: `python -m tests.chaos.dying_server`.

"[hang]" never ends, nor does "[spin]", in Python, or "[hold]", which keeps the GIL; "[die]" ends
the device thread; "[pump]" ends the task that feeds it; "[hang-encode]" and "[hold-encode]" do in
the tokenizer what the others do in the forward. "[slow]" takes a second; "[gate]" ends once the
file DYING_GATE is gone.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Sequence

from rm_core.types import EncodedItem, ItemRewards, RewardInput, Truncation
from service.observability.logs import configure_logging
from service.server import serve
from service.settings import Settings
from tests.fakes import FakeScorer, as_dialogue


def hang() -> None:
    threading.Event().wait()


def hold() -> None:
    """Sleep in C without giving the GIL back."""
    ctypes.PyDLL(None).sleep(3600)


class DyingScorer(FakeScorer):
    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        response = as_dialogue(dialogue).response
        if "[hang-encode]" in response:
            hang()
        if "[hold-encode]" in response:
            hold()
        return super().encode(dialogue, truncate=truncate)

    def cached_rewards(self, item: EncodedItem) -> ItemRewards | None:
        if "[pump]" in self._response(item) and "tokenize" not in threading.current_thread().name:
            raise ZeroDivisionError
        return super().cached_rewards(item)

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        text = " ".join(self._response(item) for item in items)
        if "[hang]" in text:
            hang()
        while "[spin]" in text:
            pass
        if "[hold]" in text:
            hold()
        if "[die]" in text:
            raise SystemExit
        if "[slow]" in text:
            time.sleep(1.0)
        while "[gate]" in text and os.path.exists(os.environ["DYING_GATE"]):  # noqa: PTH110
            time.sleep(0.005)
        return super().forward(items)

    def _response(self, item: EncodedItem) -> str:
        return self._texts[item.by_model[self.model_names[0]].input_ids].response


if __name__ == "__main__":
    settings = Settings.load()
    configure_logging(settings.log_level)
    sys.exit(serve(settings, DyingScorer()))
