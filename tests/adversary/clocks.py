"""Machines whose clocks run at another speed than the others', by name."""

from __future__ import annotations

CLOCKS = {"half-clock": 0.5, "double-clock": 2.0}
"""Seconds that such a clock counts in a second."""
