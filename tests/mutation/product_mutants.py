"""Mutants of what multiplies a trunk's linear layers; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

PRODUCTS, TEST_PRODUCTS = "rm_core/engine/trunk/products", "tests/rm_core/engine/trunk/products"

ONEDNN = target(f"{PRODUCTS}/onednn.py", f"{TEST_PRODUCTS}/test_all_products.py")
TABLE = target(f"{PRODUCTS}/table.py", f"{TEST_PRODUCTS}/test_all_products.py")
IN_PLACE = target(f"{PRODUCTS}/in_place.py", f"{TEST_PRODUCTS}/test_in_place.py")
REMEMBERED = target(f"{PRODUCTS}/remembered.py", f"{TEST_PRODUCTS}/test_remembered.py")
TIMING = target(f"{PRODUCTS}/timing.py", f"{TEST_PRODUCTS}/test_timing.py")
CHOOSE = target(f"{PRODUCTS}/choose.py", f"{TEST_PRODUCTS}/test_choose.py")

PRODUCT_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    ONEDNN: [
        ("product[:count]", "product"),
        ('weight, bias, "none"', 'weight, None, "none"'),
        ("hidden.add_(self(rows))", "hidden.copy_(self(rows))"),
    ],
    TABLE: [('if found else "mkl"', 'if found else "onednn"')],
    IN_PLACE: [
        ("if torch.is_grad_enabled():", "if False:"),
        ("            del module.forward", "            pass"),
    ],
    REMEMBERED: [("if libraries is None or not (", "if libraries is None or (")],
    TIMING: [("+= len(kind) * min(found[library])", "+= len(kind) * max(found[library])")],
    CHOOSE: [
        ("if options.deterministic and chunk_rows is None:", "if False:"),
        ("if key not in _OF_THIS_PROCESS:", "if True:"),
        ("found.table and found.table.of_one_library()", "found.table"),
    ],
}
