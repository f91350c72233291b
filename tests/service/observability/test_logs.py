import json
import logging
import sys
import threading
import warnings

import pytest
import structlog

from service.observability.logs import configure_logging, quiet_libraries, where


@pytest.fixture(autouse=True)
def restored():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook = sys.__excepthook__, threading.__excepthook__
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


def test_nothing_that_a_person_reads_can_forge_a_line_or_move_a_cursor(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure_logging("info")
    nasty = "".join(map(chr, [*range(32), 127, *range(128, 160), 0x2028, 0x202E, 0xD800]))

    structlog.get_logger("x").info("event", value=nasty)
    logging.getLogger("library").warning("said %s", nasty)

    text = capsys.readouterr().err
    assert text.count("\n") == 2
    assert all(char == "\n" or char.isprintable() for char in text)


def test_a_person_reads_sentences_and_a_log_has_json(capsys, monkeypatch):
    configure_logging("info")
    structlog.get_logger("x").warning("not_good", count=2, why="too few of them", absent=None)
    assert json.loads(capsys.readouterr().err)["event"] == "not_good"

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure_logging("info")
    structlog.get_logger("x").warning("not_good", count=2, why="too few of them", absent=None)

    first, second = capsys.readouterr().err.splitlines()
    assert first[8:] == " warning: not good count=2"
    assert second == "  why: too few of them"


def test_a_warning_and_a_crash_are_lines_of_the_log(capsys):
    configure_logging("info")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    try:
        raise ValueError("a private text")
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    thread = threading.Thread(target=lambda: json.loads("{"))
    thread.start()
    thread.join()

    warned, crashed, of_thread = events(capsys)
    assert "DeprecationWarning: old" in warned["event"]
    assert (crashed["event"], crashed["error"]) == ("crashed", "ValueError")
    assert of_thread["error"] == "JSONDecodeError"
    assert "private" not in json.dumps(crashed)


def test_libraries_write_through_the_log_and_draw_no_bars(capsys, request):
    import transformers.utils.logging

    verbosity = transformers.utils.logging.get_verbosity()
    request.addfinalizer(lambda: transformers.utils.logging.set_verbosity(verbosity))
    transformers.utils.logging.set_verbosity_warning()  # other tests may have hushed it
    configure_logging("info")
    quiet_libraries()
    transformers.utils.logging.get_logger("transformers.x").warning("said")
    list(transformers.utils.logging.tqdm([1, 2], desc="Loading weights"))

    assert [event["event"] for event in events(capsys)] == ["said"]


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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.5, {"x": -float("inf")}]])
def test_what_json_has_no_number_for_is_written_in_words(capsys, value):
    configure_logging("info")
    structlog.get_logger("x").info("event", value=value, other=1)

    def refuse(name):
        raise AssertionError(name)

    event = json.loads(capsys.readouterr().err, parse_constant=refuse)
    assert event["other"] == 1


def test_a_line_that_cannot_be_made_is_told_without_what_it_should_have_held(capsys):
    configure_logging("info")
    circular: list = ["a private text"]
    circular.append(circular)
    logging.getLogger("library").warning("%d", "a private text")
    structlog.get_logger("x").warning("event", value=circular)

    first, second = events(capsys)
    assert first == {
        "event": "log_line_lost",
        "level": "error",
        "logger": "library",
        "error": "TypeError",
    }
    assert second["event"] == "log_line_lost"
