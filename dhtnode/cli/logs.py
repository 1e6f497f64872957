"""Where log lines go: always to `node.log` in the home, and to stderr as the user asked."""

from __future__ import annotations

import logging
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

import msgspec
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FILE_BYTES = 5 * 2**20
_FILES = 3


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (Unix), level, logger, message, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up_logs(path: Path, level: str, *, as_json: bool, console: Console) -> None:
    """Route all loggers of this process. `level` holds for stderr; the file has INFO and above."""
    to_file = RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES)
    to_file.setFormatter(logging.Formatter(_LINE))
    to_file.setLevel(min(logging.INFO, logging.getLevelName(level)))
    to_user: logging.Handler
    if as_json:
        to_user = logging.StreamHandler()
        to_user.setFormatter(JsonFormatter())
    elif console.is_terminal:
        plain = NullHighlighter()  # a multiaddr in five colours is hard to read
        to_user = RichHandler(console=console, show_path=False, log_time_format="%X", highlighter=plain)
        to_user.setFormatter(logging.Formatter("%(message)s"))
    else:
        to_user = logging.StreamHandler()
        to_user.setFormatter(logging.Formatter(_LINE))
    to_user.setLevel(level)
    for formatter in (to_file.formatter, to_user.formatter):
        if formatter is not None:
            formatter.converter = time.gmtime
            formatter.default_msec_format = "%s.%03dZ"
    logging.basicConfig(
        level=logging.DEBUG if level == "DEBUG" else logging.INFO, handlers=[to_file, to_user], force=True
    )


def quiet_libraries() -> None:
    """Libraries that brought handlers of their own speak through ours. Call after importing them."""
    for name in ("hivemind", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
