"""How hypothesis tries: `pytest --hypothesis-profile thorough` draws twenty times as much.

No example has a deadline: these tests check results, and a busy machine's pauses are none.
"""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
settings.register_profile("thorough", max_examples=20 * settings.default.max_examples)
