"""Mutants of how checkpoints are read; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

CHECKPOINT, TEST_CHECKPOINT = "rm_core/checkpoint", "tests/rm_core/checkpoint"
ACCOUNTING = target(f"{CHECKPOINT}/accounting.py", f"{TEST_CHECKPOINT}/test_accounting.py")
HEADS = target(f"{CHECKPOINT}/heads.py", f"{TEST_CHECKPOINT}/test_classifier.py")
STORED_HEADS = target(
    f"{CHECKPOINT}/stored_heads.py", f"{TEST_CHECKPOINT}/test_stored_heads.py", *HEADS.tests
)
LABELS = target(f"{CHECKPOINT}/labels.py", f"{TEST_CHECKPOINT}/test_labels.py")
INNER_LAYER = target(f"{CHECKPOINT}/inner_layer.py", f"{TEST_CHECKPOINT}/test_inner_layer.py")
SHARED_TRUNKS = target(f"{CHECKPOINT}/shared_trunks.py", f"{TEST_CHECKPOINT}/test_shared_trunks.py")
SOURCE = target(f"{CHECKPOINT}/source.py", f"{TEST_CHECKPOINT}/test_source.py")
TOKENIZER = target(f"{CHECKPOINT}/tokenizer.py", f"{TEST_CHECKPOINT}/test_tokenizer.py")
WEIGHTS = target(f"{CHECKPOINT}/weights.py", f"{TEST_CHECKPOINT}/test_weights.py")

HELD_FILES = target(f"{CHECKPOINT}/held_files.py", f"{TEST_CHECKPOINT}/test_held_files.py")
REGULAR_FILES = target(f"{CHECKPOINT}/regular_files.py", *HELD_FILES.tests)
OWN_MEMORY = target(f"{CHECKPOINT}/own_memory.py", *HELD_FILES.tests)
ASKED_CODE = target(f"{CHECKPOINT}/asked_code.py", f"{TEST_CHECKPOINT}/test_asked_code.py")
SOUNDNESS = target(f"{CHECKPOINT}/soundness.py", f"{TEST_CHECKPOINT}/test_soundness.py")
GOLDEN = target(f"{CHECKPOINT}/golden.py", f"{TEST_CHECKPOINT}/test_golden.py")
GOLDEN_CHECK = target("rm_core/engine/golden.py", "tests/rm_core/engine/test_golden.py")
TRIAL_PROCESS = target(f"{CHECKPOINT}/trial_process.py", "tests/chaos/test_poisoned_checkpoints.py")
OPEN_FILES = target(f"{CHECKPOINT}/open_files.py", *TRIAL_PROCESS.tests)
MANIFEST = target(f"{CHECKPOINT}/manifest.py", *TRIAL_PROCESS.tests)
TEMPLATE_BOUNDS = target(
    "rm_core/text/template_bounds.py", "tests/rm_core/text/test_template_bounds.py"
)

CHECKPOINT_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    HELD_FILES: [
        ("!= stamp:", "!= stamp and False:"),
        ("refuse_outside(path, self.source)\n        with opened(path)", "with opened(path)"),
        ("self.names - set(names)", "frozenset()"),
    ],
    REGULAR_FILES: [
        ('real.parent == snapshots.parent / "blobs"', "True"),
    ],
    OWN_MEMORY: [
        ("copies[where] = tensor.detach().clone()", "copies[where] = tensor.detach()"),
    ],
    ASKED_CODE: [
        ("level = below", "return"),
        ("return bool(value)", "return value is True"),
        ("value in FLASH_ATTENTION and has_own", "value in FLASH_ATTENTION"),
    ],
    SOUNDNESS: [
        ("if not bool(last.weight.any()):", "if False:"),
        ("if len(read) == 1:", "if False:"),
    ],
    GOLDEN: [
        ("if math.isfinite(reward) else None", ""),
    ],
    GOLDEN_CHECK: [
        ("if not apart <= tolerance", "if apart > 1000 * tolerance"),
        ("len(set(rewards)) == 1", "False"),
        ("AveragingForward(forward, [True])", "forward"),
    ],
    TRIAL_PROCESS: [
        (
            'SPARE_NUMBERS:\n        return f"config.json',
            'SPARE_NUMBERS and False:\n        return f"config.json',
        ),
        ("len(ids) > MAX_TOKENS_PER_CHARACTER * len(_PROBE)", "False"),
    ],
    OPEN_FILES: [
        ("if root not in real.parents:", "if False:"),
    ],
    MANIFEST: [
        ("refuse_absurd(own.temperature, own.bias)", "pass"),
        ("found = known.get(name) or", "found = expected or"),
    ],
    TEMPLATE_BOUNDS: [
        ("self._left -= characters", "pass"),
        ("if characters > self.text or self._left < 0:", "if False:"),
        ("time.thread_time() > self._until", "False"),
        ("visit_For = visit_Macro", "visit_Macro"),
        ("if bits > MAX_BITS:", "if False:"),
    ],
    LABELS: [
        ("if source.label in names:", "if source.label in names[1:]:"),
        ("layer.weight.detach()[index : index + 1]", "layer.weight.detach()[:1]"),
    ],
    INNER_LAYER: [
        ("int(number) >= self.layer", "int(number) > self.layer"),
        ("setattr(part, key, value[:layer])", "pass"),
        ("if was != value and", "if was is None and"),
    ],
    SHARED_TRUNKS: [
        ("return self.digest == digest_of()", "return True"),
        ("self.files.places == files.places", "self.files.headers == files.headers"),
        ("if key not in NOT_OF_THE_TRUNK}", "if key in NOT_OF_THE_TRUNK}"),
    ],
    SOURCE: [
        ("label={label}\\nlayer={layer}", "label={label}"),
    ],
    HEADS: [
        ("[..., self._columns]", ""),
        ("super().__init__(*modules[:-1])", "super().__init__(*modules)"),
    ],
    STORED_HEADS: [
        ("one[0] == other[1]", "True"),
        ('{"out_proj": "tanh"}', '{"out_proj": "relu"}'),
        ("and not WITHIN_LAYERS.search(name)", ""),
    ],
    TOKENIZER: [
        ("template = template[DEFAULT_TEMPLATE]", "template = next(iter(template.values()))"),
        ('if (directory / "tokenizer.json").is_file():', "if False:"),
    ],
    WEIGHTS: [
        ("return (whole,)", 'return tuple(sorted(directory.glob("*.safetensors")))'),
        ("if tensor.name in stored:", "if False:"),
    ],
    ACCOUNTING: [
        ("and not bool(read_tensor(tensor).any())", ""),
        ("and len(tensor.shape) == 4", ""),
        ("if name in rivals:", "if False:"),
    ],
}
