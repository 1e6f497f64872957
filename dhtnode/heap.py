"""Memory that has been freed, given back to the system.

The allocator of most Linux systems keeps what large tensors leave free, for next time. A node that waits for
company, or for the others' commitments, has no next time for a while: what stays is what a volunteer sees.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Trim the heap; nothing happens where the system's library has no such call (macOS, musl)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
