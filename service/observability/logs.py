"""Logs on stderr, without anybody's text: sentences on a terminal, else one JSON object a line.

What can't be printed is escaped in both, so that no caller can forge a line or move a cursor.
"""

import logging
import sys
import threading
from types import TracebackType
from typing import Literal

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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _drop_exception_text,
                line_for_people if for_people else structlog.processors.JSONRenderer(),
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
