"""KEY=VALUE on a command line: values as they stand in a manifest."""

from __future__ import annotations

import tomllib
from typing import Any


def toml_value(text: str) -> Any:
    """A value as in a TOML file; what is none is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
