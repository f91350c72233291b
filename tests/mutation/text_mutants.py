"""Mutants of how texts become token ids; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

TEXT, TEST_TEXT = "rm_core/text", "tests/rm_core/text"
TEMPLATE = target(f"{TEXT}/template.py", f"{TEST_TEXT}/test_template.py")
SPECIAL_TOKENS = target(f"{TEXT}/special_tokens.py", f"{TEST_TEXT}/test_stops.py")
PAIRS = target(f"{TEXT}/pairs.py", f"{TEST_TEXT}/test_pairs.py")
ENDS = target(f"{TEXT}/special_tokens.py", "tests/rewardd/checkpoints/convert/test_reading.py")
TRUNCATION = target(f"{TEXT}/length.py", f"{TEST_TEXT}/test_truncation.py")

TEXT_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    TEMPLATE: [
        ("if body.rstrip().endswith(bare):", "if bare in body:"),
        ("return str(error) if str(error) in constants else None", "return str(error)"),
        ("return _SOME_DATE in self._apply", "return _SOME_DATE not in self._apply"),
    ],
    ENDS: [("return eos is not None and eos in ids[-2:]", "return True")],
    SPECIAL_TOKENS: [
        ("return bare + self.tail if found else text", "return bare if found else text"),
        ("found = found or stop in foreign", "found = stop in foreign"),
    ],
    PAIRS: [
        ("dropped = set([*prompt, *response][:excess])", "dropped = set(range(excess))"),
        ('tuple(found.get("token_type_ids", ()))', "()"),
    ],
    TRUNCATION: [
        (
            "keep)\n        return ids[:keep] + ids[keep + excess :]",
            "keep)\n        return ids[: len(ids) - excess]",
        ),
        ("return front + text[excess:], left", "return text[excess:], left"),
        ("0)\n        return ids[:keep] + ids[keep + excess :]", "0)\n        return ids[excess:]"),
    ],
}
