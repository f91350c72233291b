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

CHECKPOINT_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
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
