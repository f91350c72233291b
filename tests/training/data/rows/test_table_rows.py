from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.rows.table_rows import DatasetRows, ParquetRows, load_saved_dataset


def test_a_parquet_file_skips_whole_row_groups_instead_of_reading_them(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"n": list(range(1000))}), path, row_group_size=100)
    rows = ParquetRows(path)

    first = next(rows.read(250))

    assert first.values == {"n": 250}
    assert rows.total == 1000
    assert rows.done == 251


def test_nested_columns_are_plain_values(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path = tmp_path / "in.parquet"
    pq.write_table(pa.Table.from_pylist([{"messages": chat, "score": None}]), path)

    (row,) = ParquetRows(path).read(0)

    assert row.values == {"messages": chat, "score": None}


def test_a_dataset_that_was_filtered_gives_what_is_left(tmp_path: Path) -> None:
    kept = datasets.Dataset.from_dict({"n": list(range(300))}).filter(lambda row: row["n"] % 2)
    kept.save_to_disk(str(tmp_path / "kept"))

    rows = DatasetRows(load_saved_dataset(tmp_path / "kept")).read(100)
    found = [row.values["n"] for row in rows]

    assert found == list(range(201, 300, 2))
