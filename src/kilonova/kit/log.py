"""Structured logs: one JSON object a line, with the request id that everything done for a request carries."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request on whose behalf the current task works; tasks inherit it from the one that started them."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Logger:
    """`log.info("claimed", server=id, host=name)`: an event in a few words, and facts by name. No secrets."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **facts: Any) -> None:
        self._write(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: Any) -> None:
        self._write(logging.INFO, event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._write(logging.WARNING, event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._write(logging.ERROR, event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """As `error`, with the traceback of the exception in hand."""
        self._write(logging.ERROR, event, facts, exc_info=True)

    def _write(self, level: int, event: str, facts: dict[str, Any], *, exc_info: bool = False) -> None:
        logger = self._logger
        if logger.isEnabledFor(level):
            # Not `logger.log`: it walks the stack for file and line, which no line of ours shows.
            caught = sys.exc_info() if exc_info else None
            logger.handle(logger.makeRecord(logger.name, level, "", 0, event, (), caught, extra={"facts": facts}))


class JsonFormatter(logging.Formatter):
    """One line of JSON a record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if current := request_id.get():
            line["request_id"] = current
        line.update(getattr(record, "facts", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _encode(line).decode()


def set_up(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log record of this process to `stream` (stderr by default) as JSON."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # uvicorn.error tells the query strings of websockets, where tokens stand.
    for noisy in ("httpx", "httpcore", "oslo_policy", "uvicorn.access", "uvicorn.error", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
