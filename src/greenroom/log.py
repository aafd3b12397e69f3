"""Logging: events with keys, one line each, to standard error. JSON in production, readable in development.

What never gets into a line, whoever logs: a query string (it may hold a ticket or the development key), the values of
keys that name a secret or somebody's data, and the local variables of a traceback. What libraries say through `logging`
comes out in the same form.
"""

import logging
import re
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

HIDDEN: Final = "[hidden]"
PATH_CHARACTERS_MAX: Final = 512  # of what somebody asked for; a request may have 16 KiB
_SECRET_KEY = re.compile(
    r"(password|passwd|secret|token|authorization|cookie|api_?key|credential|signature|email|phone|content|body)",
    re.IGNORECASE,
)
# Keys that only sound like it.
_HARMLESS: Final = frozenset({"content_length", "content_type", "key", "token_kind", "body_bytes"})
_QUERY = re.compile(r"\?[^\s\"']*")
# From the beginning of a word only: tried from each letter of a long one, it takes the square of its length.
_URL_PASSWORD = re.compile(r"(\b\w+://[^:/\s@]*):[^@/\s]+@")


def set_up_logging(level: str, *, is_development: bool, stream: TextIO | None = None) -> None:
    """Configure structlog and logging. Call it once, before anything logs. *level*: debug, info, warning or error."""
    target = stream or sys.stderr
    shared: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide,
    ]
    structlog.configure(
        processors=[*shared, *_renderers(is_development, target)],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, shorten],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(is_development, target),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell what they do at info; we tell what happened.
    root.setLevel(max(_number(level), logging.WARNING))


def hide(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Take out of *event* what must not be written down."""
    for name, value in event.items():
        if name in ("event", "level", "timestamp", "exc_info", "exception"):
            continue
        if _SECRET_KEY.search(name) and name not in _HARMLESS:
            event[name] = HIDDEN
        elif isinstance(value, str) and name in ("path", "url", "target", "address", "detail", "why"):
            event[name] = without_query(value)
            if name == "path":
                event[name] = event[name][:PATH_CHARACTERS_MAX]
    return event


def shorten(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Say in one line what the database's driver tells with a traceback: a database that is away is no bug."""
    record = event.get("_record")
    fault = event.get("exc_info")
    if isinstance(record, logging.LogRecord) and record.name.startswith("asyncpg") and isinstance(fault, tuple):
        del event["exc_info"]
        event["why"] = without_query(str(fault[1]) or type(fault[1]).__name__)
    return event


def without_query(text: str) -> str:
    """*text* without query strings, and without passwords in addresses."""
    return _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", _QUERY.sub("", text))


def _renderers(is_development: bool, target: TextIO) -> list[Callable[..., Any]]:
    if is_development:
        plain = structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
        return [plain]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]


def _number(level: str) -> int:
    return {"debug": 10, "info": 20, "warning": 30, "error": 40}[level]
