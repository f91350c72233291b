import json
import logging

import pytest
import structlog

from service.observability.logs import configure_logging, where


@pytest.fixture(autouse=True)
def restored():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def events(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.split("\n") if line]


def test_nothing_that_is_logged_can_forge_a_line_or_move_a_cursor(capsys):
    configure_logging("info")
    nasty = "".join(map(chr, [*range(32), 127, *range(128, 160), 0x2028, 0x2029, 0xD800]))

    structlog.get_logger("x").info("event", value=nasty)
    logging.getLogger("library").warning("said %s", nasty)

    text = capsys.readouterr().err
    assert text.count("\n") == 2
    assert all(char == "\n" or 32 <= ord(char) < 127 for char in text)
    assert json.loads(text.splitlines()[0])["value"] == nasty


def test_a_librarys_traceback_is_logged_without_its_message(capsys):
    configure_logging("info")

    try:
        raise ValueError("a private text")
    except ValueError:
        logging.getLogger("library").exception("it failed")

    (event,) = events(capsys)
    assert event["error"] == "ValueError"
    assert "test_logs" in event["where"][-1]
    assert "private" not in json.dumps(event)


def test_levels_are_kept(capsys):
    configure_logging("warning")
    structlog.get_logger("x").info("quiet")
    structlog.get_logger("x").warning("loud")

    assert [event["event"] for event in events(capsys)] == ["loud"]


def test_where_names_the_frames():
    with pytest.raises(ValueError, match="property name") as caught:
        json.loads("{")

    assert where(caught.value)[-1].startswith("json.decoder:raw_decode:")
