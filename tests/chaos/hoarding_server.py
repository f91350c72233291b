"""The fake server with a scorer that forgets nothing: what the soak must find.

`python -m tests.chaos.hoarding_server`, with the settings of `tests.integration.fake_server`.
"""

import sys
from collections.abc import Sequence

from rm_core.types import EncodedItem, ItemRewards
from service.observability.logs import configure_logging
from service.server import serve
from service.settings import Settings
from tests.fakes import FakeScorer

BYTES_PER_TEXT = 64 * 1024


class HoardingScorer(FakeScorer):
    def __init__(self) -> None:
        super().__init__()
        self.hoard: list[bytearray] = []

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        self.hoard += [bytearray(b"x" * BYTES_PER_TEXT) for _ in items]
        return super().forward(items)


if __name__ == "__main__":
    settings = Settings.load()
    configure_logging(settings.log_level)
    sys.exit(serve(settings, HoardingScorer()))
