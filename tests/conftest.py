"""How hard hypothesis tries: `pytest --hypothesis-profile thorough` draws twenty times as much."""

from hypothesis import settings

settings.register_profile("thorough", max_examples=20 * settings.default.max_examples)
