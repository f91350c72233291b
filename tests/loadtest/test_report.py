import json
import re
from dataclasses import replace
from functools import partial

from loadtest.report import (
    environment,
    markdown_table,
    plot_latencies,
    runs_table,
    write_json,
    write_text,
)
from loadtest.work import Work
from tests.loadtest.made_up_run import made_up_run

result = partial(made_up_run, latencies=(10.0,) * 200)


def test_the_table_says_loudly_what_must_not_be_believed():
    text = runs_table([result("fine"), result("late", lateness_ms=9.0), result("bad", failed=2)])

    assert "| fine | 200 | 200 | 0 | 0 | 100.0 | 2.00 | 10.0 | 10.0 | 10.0 | – | 10.0 |" in text
    assert "| late (VOID) |" in text
    assert "**VOID: late: the generator was late" in text
    assert "**bad: 2 × wrong reward**" in text
    assert "fine:" not in text


def test_a_run_of_remembered_rewards_is_told():
    remembered = replace(result("burst"), work=Work(kept_rewards=3.0))

    assert not remembered.is_clean
    assert "**burst: 3 rewards were remembered" in runs_table([remembered])


def test_groups_have_a_line_of_their_own():
    text = runs_table([result("group-singles", groups=(30.0, 50.0))])

    assert "| group-singles, last of group |" in text


def test_tables_are_markdown():
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---:|\n| 1 | 2 |"


def test_files_and_their_directories_are_made(tmp_path):
    write_json(tmp_path / "deep" / "r.json", {"é": 1.5})
    write_text(tmp_path / "other" / "r.md", "# x")
    plot_latencies(
        tmp_path / "p" / "plot.png", [result("fine"), result("none", latencies=())], title="test"
    )

    assert json.loads((tmp_path / "deep" / "r.json").read_text()) == {"é": 1.5}
    assert (tmp_path / "other" / "r.md").read_text() == "# x\n"
    assert (tmp_path / "p" / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_machine_and_the_command_are_told():
    told = environment()

    assert {"platform", "processor", "python", "command", "commit", "time"} == set(told)
    # With a plus where files were changed since; nothing outside of a checkout.
    assert re.fullmatch(r"([0-9a-f]{7,}\+?)?", told["commit"])
