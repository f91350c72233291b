"""Logs on stderr, without anybody's text: sentences on a terminal, else one JSON object a line.

What can't be printed is escaped in both, so that no caller can forge a line or move a cursor.
"""

import contextlib
import json
import logging
import math
import sys
import threading
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

Level = Literal["debug", "info", "warning", "error"]


def configure_logging(level: Level) -> None:
    """Send structlog's and the libraries' events through one renderer, and warnings with them.

    Args:
        level: the least grave event to log.
    """
    for_people = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        if for_people
        else structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _drop_exception_text,
                line_for_people if for_people else structlog.processors.JSONRenderer(_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # httpx and the hub say every request at info; uvicorn's own lines repeat ours.
    for name in ("httpx", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    if not for_people:
        sys.excepthook = _log_crash
        threading.excepthook = _log_crash_of_thread
        sys.unraisablehook = _log_unraisable


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines; one that can't be made is told by another, not by a traceback on stderr."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's own name)
        """Say which logger's line was lost, and why; its values may be anybody's text."""
        error = sys.exc_info()[1]
        line = {
            "event": "log_line_lost",
            "level": "error",
            "logger": record.name,
            "error": type(error).__name__,
        }
        with contextlib.suppress(OSError, ValueError):  # nobody reads the log any more
            self.stream.write(json.dumps(line) + self.terminator)
            self.flush()


def quiet_libraries() -> None:
    """Take from libraries what writes past the log: their handlers, and bars off a terminal.

    To be called when transformers, which takes seconds to import, is imported anyway.
    """
    import huggingface_hub.utils
    import transformers.utils.logging

    for name in ("transformers", "huggingface_hub"):
        library = logging.getLogger(name)
        for handler in list(library.handlers):
            library.removeHandler(handler)
        library.propagate = True
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
        huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined]


def line_for_people(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> str:
    """An event as a person reads it: time, what it is, values; sentences on lines of their own."""
    time, level = event.pop("timestamp", ""), event.pop("level", "info")
    words = [
        time,
        "" if level == "info" else f"{level}:",
        str(event.pop("event")).replace("_", " "),
    ]
    told = {name: _printable(value) for name, value in event.items() if value is not None}
    words += [f"{name}={value}" for name, value in told.items() if " " not in value]
    lines = [_printable(" ".join(word for word in words if word))]
    lines += [
        f"  {name.replace('_', ' ')}: {value}" for name, value in told.items() if " " in value
    ]
    return "\n".join(lines)


def _printable(value: object) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in str(value)
    )


def _log_crash(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    structlog.get_logger(__name__).critical("crashed", error=kind.__name__, where=where(error))


def _log_crash_of_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        _log_crash(found.exc_type, found.exc_value, None)


def _log_unraisable(found: "sys.UnraisableHookArgs") -> None:
    # As in a destructor; the object that it came from may hold a text.
    if found.exc_value is not None:
        structlog.get_logger(__name__).error(
            "error_ignored", error=found.exc_type.__name__, where=where(found.exc_value)
        )


def _json(event: structlog.typing.EventDict, **options: Any) -> str:
    """The event as strict JSON in ASCII: what is no finite number is written in words."""
    try:
        return json.dumps(event, allow_nan=False, **options)
    except ValueError:
        pass
    try:
        return json.dumps(_finite(event), allow_nan=False, **options)
    except RecursionError:  # which logging lets through
        raise ValueError("a value holds itself") from None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def where(error: BaseException) -> list[str]:
    """The frames that `error` came through, "module:function:line", innermost last; no values."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        module = trace.tb_frame.f_globals.get("__name__", "?")
        frames.append(f"{module}:{code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return frames[-12:]


def _drop_exception_text(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    # A library's traceback ends with the exception's message, which may quote a text.
    info = event.pop("exc_info", None)
    if isinstance(info, tuple) and len(info) == 3 and info[1] is not None:
        info = info[1]
    if isinstance(info, BaseException):
        event["error"] = type(info).__name__
        event["where"] = where(info)
    return event
