"""Synthetic prose from word lists of our own: plausible to a tokenizer, and nobody's data.

Stems and endings are combined into some ten thousand word forms, as many as a benchmark
tokenizer's vocabulary wants; sentences have subjects, verbs, objects and punctuation.
"""

import itertools
from collections.abc import Iterator
from random import Random

FUNCTION_WORDS = (
    "the a this that every some one another its our their of in on at by for with from to into "
    "over under after before between and but or because while when where which who if then than "
    "as so yet not never often always is was has had will would can could should may must it we "
    "they you she he there here more less very quite rather also still only even both each"
).split()
ADJECTIVES = (
    "quiet early narrow broken careful gentle heavy bright distant hollow patient sudden steady "
    "wooden golden bitter frozen honest clever modest random silver tender urgent vivid ancient"
).split()
NOUNS = (
    "river baker ladder garden window letter engine harbour kettle lantern market meadow mirror "
    "needle office orchard pencil pillow planet pocket question railway sailor shadow signal "
    "teacher theatre ticket tunnel valley village weather winter answer battery blanket bottle "
    "bridge button candle carpet castle circle compass corner cotton desert doctor dragon"
).split()
VERBS = (
    "carry follow gather measure repair answer borrow cover deliver explain finish guard handle "
    "imagine join keep listen move notice offer paint question reach settle travel unfold visit"
).split()
ONSETS = (
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sk sl sm sn sp st t "
    "th tr tw v w z"
).split()
VOWELS = "a e i o u ai ea ee oa oo ou".split()
CODAS = "b ck d ft g l lm ld m mp n nd ng nt p r rd rk rm rn s sh sk st t th".split()
ENDINGS = ("", "ed", "er", "ing", "ly", "ness", "s", "able", "ment", "ship")


def word_forms(count: int, *, seed: int = 0) -> list[str]:
    """Distinct lower-case words: the lists above, then invented ones in a seeded order.

    Args:
        count: how many; at most some two hundred thousand exist.
        seed: of the order.
    """
    listed = dict.fromkeys((*FUNCTION_WORDS, *ADJECTIVES, *NOUNS, *VERBS))
    stems = ["".join(parts) for parts in itertools.product(ONSETS, VOWELS, CODAS)]
    Random(seed).shuffle(stems)
    invented = (stem + ending for ending in ENDINGS for stem in stems)
    forms = itertools.chain(listed, (word for word in invented if word not in listed))
    return list(dict.fromkeys(itertools.islice(forms, count)))


def sentences(rng: Random, rare: list[str]) -> Iterator[str]:
    """Endless sentences; about one word in six comes from `rare`."""

    def pick(words: list[str]) -> str:
        return rng.choice(rare) if rng.random() < 1 / 6 else rng.choice(words)

    while True:
        words = [
            rng.choice(("the", "a", "every", "some", "this", "our")),
            pick(ADJECTIVES),
            pick(NOUNS),
            rng.choice(("would", "could", "must", "will", "should")),
            pick(VERBS),
            rng.choice(("the", "its", "another", "that")),
            pick(NOUNS),
        ]
        if rng.random() < 0.6:
            words += [rng.choice(("because", "while", "when", "after", "before")), "the"]
            words += [pick(NOUNS), rng.choice(("is", "was", "has", "had")), pick(ADJECTIVES)]
        words[0] = words[0].capitalize()
        yield " ".join(words) + rng.choice(".....,;?!")
