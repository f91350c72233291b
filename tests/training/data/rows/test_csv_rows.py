import csv
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.rows import csv_rows
from training.data.rows.csv_rows import CsvRows
from training.data.rows.open import open_file
from training.errors import DataError

PAIR = {"prompt": "a, b; c", "chosen": "d"}


def read(path: Path, text: str) -> list[dict[str, str]]:
    path.write_text(text, newline="")
    with closing(open_file(path)) as rows:
        return [row.values for row in rows.read()]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'prompt,chosen\n"a, b; c",d\n'),
        ("a.csv", 'prompt;chosen\r\n"a, b; c";d\r\n'),
        ("a.csv", "\ufeffprompt;chosen\na, b; c;d\n".replace("a, b; c;", '"a, b; c";')),
        ("a.csv", "prompt\tchosen\na, b; c\td\n"),
        ("a.csv", 'sep=;\nprompt;chosen\n"a, b; c";d\n'),
        ("a.tsv", "prompt\tchosen\na, b; c\td\n"),
    ],
)
def test_columns_are_separated_by_what_the_header_says(
    tmp_path: Path, name: str, text: str
) -> None:
    assert read(tmp_path / name, text) == [PAIR]


def test_a_header_that_fits_twice_is_settled_by_the_rows_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    header = "prompt;chosen, better;rejected\n"

    assert read(path, header + "1;2;3\n4;5, or 6, or 7;8\n")[1]["chosen, better"] == "5, or 6, or 7"
    for ambiguous in ("", "1;2,3;4\n", "1,2,3;4\n"):
        with pytest.raises(DataError, match=r"by commas or semicolons; say which.*sep=;"):
            read(path, header + ambiguous)
    assert read(path, "sep=;\n" + header + "1;2,3;4\n")[0]["prompt"] == "1"
    assert read(path, "sep=,\n" + header + "1;2,3;4\n")[0]["prompt;chosen"] == "1;2"


def test_a_cut_off_row_is_no_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "_HEAD", 50)
    rows = 'prompt;chosen, better\n1;2\n"3;' + "x" * 100 + '";4\n'

    assert read(tmp_path / "a.csv", rows)[1]["chosen, better"] == "4"


def test_a_file_named_tsv_without_tabs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"separated by commas, not by tabs; name it \.csv"):
        read(tmp_path / "a.tsv", "prompt,chosen\na,b\n")
    assert read(tmp_path / "a.tsv", "prompt\na, b\n") == [{"prompt": "a, b"}]


def test_a_column_that_stands_twice_is_refused_and_one_without_name_is_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv has two columns `chosen`"):
        read(tmp_path / "a.csv", "prompt,chosen,chosen\na,b,c\n")
    assert read(tmp_path / "a.csv", ",prompt\n0,a\n")[0]["prompt"] == "a"


def test_lines_are_counted_also_behind_a_declaration(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('sep=;\nprompt;chosen\n"two\nlines";b\nc;d;e\n')

    with closing(CsvRows(path)) as rows:
        assert [row.number for row in rows.read()] == [3, 5]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=8)


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=4), st.sampled_from([",", ";", "\t"])
)
def test_a_table_is_read_as_it_was_written_or_refused_never_otherwise(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]], separator: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "given.csv"
    header = ["prompt", "chosen, rejected; and\tmore", "x"]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([header, *table])

    with closing(CsvRows(path)) as rows, suppress(DataError):
        assert [list(row.values.values()) for row in rows.read()] == table
