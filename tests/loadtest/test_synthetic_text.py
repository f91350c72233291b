from itertools import islice
from random import Random

from loadtest.synthetic_text import sentences, word_forms


def test_there_are_enough_distinct_words_for_a_large_vocabulary():
    words = word_forms(32_768)

    assert len(words) == len(set(words)) == 32_768
    assert all(word.isalpha() and word.islower() for word in words)


def test_equal_seeds_give_equal_words_and_sentences():
    rare = word_forms(3000, seed=1)

    assert rare == word_forms(3000, seed=1) != word_forms(3000, seed=2)
    first, again, other = (list(islice(sentences(Random(s), rare), 50)) for s in (7, 7, 8))
    assert first == again != other


def test_sentences_begin_with_a_capital_and_end_with_punctuation():
    for sentence in islice(sentences(Random(0), word_forms(3000)), 200):
        assert sentence[0].isupper()
        assert sentence[-1] in ".,;?!"
