"""The file of earlier choices: a convenience that nothing depends on."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from rm_core.engine.trunk.products import remembered
from rm_core.engine.trunk.products.remembered import (
    MOST_ENTRIES,
    choice_key,
    remember_table,
    remembered_table,
)
from rm_core.engine.trunk.products.table import ProductTable, table_of

TABLE = ProductTable(("mkl", "onednn", "onednn", "onednn"), 512)


def test_a_choice_is_remembered_beside_others(tmp_path: Path) -> None:
    file = tmp_path / "rewardd" / "products.json"

    remember_table(file, "one", TABLE)
    remember_table(file, "two", table_of("mkl"))

    assert remembered_table(file, "one") == TABLE
    assert remembered_table(file, "two") == table_of("mkl")
    assert remembered_table(file, "three") is None
    assert [path.name for path in file.parent.iterdir()] == ["products.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe{",
        b"[" * 100_000,
        b"[1]",
        b'{"key": 3}',
        b'{"key": {"libraries": "onednn"}}',
        b'{"key": {"libraries": ["mkl", "onednn", "mkl", "rm -rf"]}}',
        b'{"key": {"libraries": ["mkl", "mkl", "mkl", "mkl"], "chunk_rows": 0}}',
        b'{"key": {"libraries": ["mkl", "mkl", "mkl", "mkl"], "chunk_rows": true}}',
        b'{"key": {"libraries": ["mkl", "mkl", "mkl", "mkl"], "chunk_rows": 1e9}}',
    ],
)
def test_what_a_file_may_not_say_counts_as_nothing_and_is_replaced(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "products.json"
    file.write_bytes(content)

    assert remembered_table(file, "key") is None
    remember_table(file, "key", TABLE)
    assert remembered_table(file, "key") == TABLE


def test_a_file_that_can_not_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a directory should be")

    remember_table(tmp_path / "taken" / "products.json", "key", TABLE)
    remember_table(tmp_path, "key", TABLE)  # a directory in the file's place

    assert remembered_table(tmp_path / "taken" / "products.json", "key") is None
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_file_keeps_the_latest_choices(tmp_path: Path) -> None:
    file = tmp_path / "products.json"
    table = {"libraries": list(TABLE.libraries), "chunk_rows": None}
    file.write_text(json.dumps({str(at): table for at in range(MOST_ENTRIES)}))

    remember_table(file, "latest", TABLE)

    assert remembered_table(file, "0") is None
    assert remembered_table(file, "1") is not None
    assert remembered_table(file, "latest") == TABLE


def test_a_choice_holds_for_its_shapes_threads_and_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linears = [nn.Linear(8, 4)]
    keys = {choice_key(linears, None), choice_key([nn.Linear(8, 5)], None), choice_key(linears, 8)}
    keys.add(choice_key([nn.Linear(8, 4, dtype=torch.bfloat16)], None))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    keys.add(choice_key(linears, None))
    for told in ("model name : a\n", "model name : b\n", "nothing"):
        monkeypatch.setattr(remembered, "_CPUINFO", tmp_path / "cpuinfo")
        (tmp_path / "cpuinfo").write_text(told)
        keys.add(choice_key(linears, None))

    assert len(keys) == 8
    assert choice_key(linears, None) == choice_key([nn.Linear(8, 4)], None)
