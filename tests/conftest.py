"""How hypothesis tries, how hard the attacks of tests/chaos are, and what is never garbage.

`pytest --hypothesis-profile thorough` draws twenty times as much.

No example has a deadline: these tests check results, and a busy machine's pauses are none.
"""

import gc

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
settings.register_profile("thorough", max_examples=20 * settings.default.max_examples)


def pytest_addoption(parser: pytest.Parser) -> None:
    chaos = parser.getgroup("chaos", "the attacks of tests/chaos")
    chaos.addoption(
        "--chaos",
        choices=("short", "full"),
        default="short",
        help="seconds of each attack, or as long as it was meant (make chaos)",
    )
    chaos.addoption("--chaos-seed", type=int, default=1, help="of everything random in them")


def pytest_collection_finish() -> None:
    """Leave what was imported out of all garbage collections: half a second and more for each.

    accelerate collects after every training, and one in the middle of a test takes its time.
    """
    gc.collect()
    gc.freeze()
