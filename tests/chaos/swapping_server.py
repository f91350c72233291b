"""A real server process whose models are numbers: `python -m tests.chaos.swapping_server`.

Settings come from the environment; a forward takes FAKE_FORWARD_SECONDS. SWAP_FAULT takes a
protection away: "inside_pack" lets packs mix two versions.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence

from rm_core.checkpoint.source import ModelSource
from rm_core.types import EncodedItem, ItemRewards, ModelName
from service.batching.pack_queue import PackQueue
from service.observability.logs import configure_logging
from service.server import serve
from service.settings import Settings
from tests.service.swap.loaders import NumberLoader, NumberScorer


class SlowNumberScorer(NumberScorer):
    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        time.sleep(float(os.environ.get("FAKE_FORWARD_SECONDS", "0")))
        return super().forward(items)


class SlowNumberLoader(NumberLoader):
    def load(self, sources: Mapping[ModelName, ModelSource]) -> SlowNumberScorer:
        return SlowNumberScorer(super().load(sources).numbers)


if __name__ == "__main__":
    if os.environ.get("SWAP_FAULT") == "inside_pack":
        PackQueue._of_one_scorer = lambda self, first: list(self)  # type: ignore[method-assign]
    settings = Settings.load()
    configure_logging(settings.log_level)
    loader = SlowNumberLoader()
    sys.exit(serve(settings, loader.load(settings.sources()), loader=loader))
