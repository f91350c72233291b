"""Logs: one JSON object a line on stderr, without anybody's text.

JSON escapes what is not printable ASCII, so that no caller can forge a line or move a cursor.
"""

import logging
import sys
from typing import Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]


def configure_logging(level: Level) -> None:
    """Send structlog's and the libraries' events through one JSON renderer.

    Args:
        level: the least grave event to log.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # httpx and the hub say every request at info; uvicorn's own lines repeat ours.
    for name in ("httpx", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


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
