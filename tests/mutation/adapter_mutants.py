"""Mutants of what runs adapters side by side; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

ENGINE, TEST_ENGINE = "rm_core/engine", "tests/rm_core/engine"

LOW_RANK = target("rm_core/checkpoint/low_rank.py", "tests/rm_core/checkpoint/test_low_rank.py")
BESIDE = target(f"{ENGINE}/packing/beside.py", f"{TEST_ENGINE}/packing/test_beside.py")
ADAPTED = target(f"{ENGINE}/trunk/adapted.py", f"{TEST_ENGINE}/trunk/test_adapted.py")
SIDE_BY_SIDE = target(
    f"{ENGINE}/forward/side_by_side.py",
    f"{TEST_ENGINE}/forward/test_side_by_side.py",
    f"{TEST_ENGINE}/forward/test_choose_adapters.py",
)
CHOOSE_ADAPTERS = target(
    f"{ENGINE}/forward/choose_adapters.py", f"{TEST_ENGINE}/forward/test_choose_adapters.py"
)
PREPARE = target(f"{ENGINE}/prepare.py", f"{TEST_ENGINE}/test_prepare.py")

ADAPTER_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    LOW_RANK: [
        ("float(layer.scaling[name])", "1.0"),
        ("if variant is not None:", "if False:"),
        ("down.bias is not None or up.bias is not None", "down.bias is not None"),
        ("if len(dtypes) != 1 or", "if"),
    ],
    BESIDE: [
        ("subtree_end=segment.subtree_end + rows", "subtree_end=segment.subtree_end"),
        ("segment.parent + segments", "segment.parent"),
        ("pack.read_rows + row", "pack.read_rows"),
    ],
    ADAPTED: [
        ("alpha=part.scaling", "alpha=1.0"),
        ("np.searchsorted(at, self._borders)", "self._borders"),
        ("rows.of_reads if reads else rows.of_pack", "rows.of_pack"),
        ("np.clip(borders, start, stop) - start", "np.clip(borders, start, stop)"),
    ],
    SIDE_BY_SIDE: [
        ("MmProduct if onednn is None else onednn.product", "MmProduct"),
        ("max(1, ROWS_TOGETHER // len(input_ids))", "self._count"),
        ("slice(place * tokens, (place + 1) * tokens)", "slice(0, tokens)"),
        ("run.keys[adapter :: self._count]", "run.keys[:: self._count]"),
        ("capture(layer * self._count + adapter,", "capture(layer * self._count,"),
        ('f"layers.{len(trunk.layers) - 1}.mlp." if skip_unread else None', "None"),
    ],
    CHOOSE_ADAPTERS: [
        ("made.products = way.products", "pass"),
        ("torch.cat([each.alone for each in trials], dim=1)", "torch.tensor(0.0)"),
        ("return by_length_class(made, base, max_length)", "return made"),
    ],
    PREPARE: [
        ("if text_identity(trunk.first) != text_identity(first.first):", "if False:"),
        ("return same_trunk(base, own)", "return True"),
        ("return places[0] == places[1]", "return True"),
        ("    if options.deterministic:", "    if False:"),
        ("row[begin:end] for row in found", "row[:1] for row in found"),
    ],
}
