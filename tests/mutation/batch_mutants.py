"""Mutants of what runs models in batches and tries it; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

ENGINE, TEST_ENGINE = "rm_core/engine", "tests/rm_core/engine"

BATCHED = target(f"{ENGINE}/forward/batched.py", f"{TEST_ENGINE}/test_batched_models.py")
BATCHES = target(f"{ENGINE}/forward/batches.py", f"{TEST_ENGINE}/forward/test_batches.py")
CHOOSE = target(
    f"{ENGINE}/forward/choose.py",
    f"{TEST_ENGINE}/test_batched_models.py",
    f"{TEST_ENGINE}/forward/test_choose.py",
)
SELF_TEST = target(
    f"{ENGINE}/forward/self_test.py",
    f"{TEST_ENGINE}/forward/test_self_test.py",
    f"{TEST_ENGINE}/test_batched_models.py",
)
KEPT_STATE = target(f"{ENGINE}/trunk/kept_state.py", f"{TEST_ENGINE}/trunk/test_kept_state.py")
ROOM = target(f"{ENGINE}/trunk/room.py", f"{TEST_ENGINE}/trunk/test_room.py")
VOCABULARY = target(f"{ENGINE}/trunk/vocabulary.py", f"{TEST_ENGINE}/trunk/test_vocabulary.py")
PADDING = target("rm_core/checkpoint/padding.py", "tests/rm_core/checkpoint/test_padding.py")

BATCH_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    BATCHED: [
        ("if self._kept is not None:", "if False:"),
        ('inputs["attention_mask"] = real.long()', "pass"),
        ("counted_token=self.demands.required_token,", "counted_token=None,"),
    ],
    BATCHES: [
        ("text.input_ids.count(counted_token)", "0"),
        ("batches.setdefault(length, [])", "batches.setdefault(0, [])"),
        ("(1 - most_padding) * total", "0"),
    ],
    CHOOSE: [
        ('"kept": trial.keeps,', '"kept": None,'),
        ("most_padding=1.0)", "most_padding=0.1)"),
        ("for way in ways:", "for way in ways[:1]:"),
        ("return end\n    return None", "return None\n    return None"),
    ],
    SELF_TEST: [
        ("rows[2][len(rows[2]) // 2] = end", "pass"),
        ("                self._fresh.restore()", "                pass"),
        ("if text.num_tokens >= fewest", "if text.num_tokens >= 1"),
    ],
    KEPT_STATE: [
        ("own.update(self.plain)", "pass"),
        ("buffer.copy_(value)", "pass"),
        ("or not _same(self.parts, module._modules)", "or False"),
    ],
    ROOM: [
        ("table.num_embeddings - table.padding_idx - 1", "table.num_embeddings"),
        ("_takes(model, known) else", "True else"),
        ("fewest = middle\n", "fewest = middle - 1\n"),
    ],
    VOCABULARY: [
        ("0 <= pad < size and pad != end", "pad != end"),
        ("0 <= pad < size and pad != end", "0 <= pad < size"),
        ("i is not None and 0 <= i < size", "i is not None"),
    ],
    PADDING: [("or pad < rows", "or True")],
}
