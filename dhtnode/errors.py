"""Whose fault is it? The type of an error says so, and with it what happens next.

ConfigError          the user's file or command line: one line, the remedy, an exit code
LocalProtocolError   our own bug: the node stops and shows a traceback
RemoteProtocolError  something a peer sent: dropped, counted against that peer, the node goes on
TransportError       nobody's fault: retried, or the peer is taken for gone

Exit codes are part of the command line's contract and documented in docs/operators.md.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command of this project."""

    OK = 0
    FAILED = 1
    """The work itself failed, for example a swarm whose states differ."""
    USAGE = 2
    """Wrong command line (also what the parser itself uses)."""
    MANIFEST = 3
    """swarm.toml is unreadable, unsigned, of another version, or has a wrong key or value."""
    DATA = 4
    """The dataset is missing or does not match its digest."""
    HOME = 5
    """The home folder is not writable, belongs to another swarm, or is in use."""
    NETWORK = 6
    """Port in use, no peer answers, the daemon does not start, the identity runs elsewhere."""
    DISK = 7
    """No space, or the disk refuses to write."""
    TERMS = 8
    """The swarm has adopted terms that this version can't play by."""


class DhtnodeError(Exception):
    """Base of all errors that this project raises on purpose."""


class ConfigError(DhtnodeError):
    """The user can mend it. `str(error)` is one line that names the thing and the remedy."""

    def __init__(self, message: str, exit_code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class LocalProtocolError(DhtnodeError):
    """The node broke its own protocol: a bug here, never something a peer did."""


class RemoteProtocolError(DhtnodeError):
    """A peer sent something that no honest peer sends.

    Args:
        peer: peer id of the sender, or "" where the bytes do not even name one.
        reason: a short stable key such as "bad-signature"; `status` counts by it.
        detail: one line for the log.
    """

    def __init__(self, peer: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{peer or 'unknown peer'}: {reason}" + (f" ({detail})" if detail else ""))
        self.peer = peer
        self.reason = reason
        self.detail = detail


class TransportError(DhtnodeError):
    """A connection, stream or daemon failed. Nobody is to blame."""
