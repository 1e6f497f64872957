"""The running node's ear on its own machine: a Unix socket in the home, for its owner only.

One request is one line of JSON, `{"command": "status"}`, with `"options"` for commands that have some, and so
is the answer: `{"ok": RESULT}` or `{"error": "one line"}`. A connection may ask several times. Which commands
exist is up to the node.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from dhtnode.errors import ConfigError, DhtnodeError, Exit
from dhtnode.files import disk_errors

log = logging.getLogger(__name__)

MOST_REQUEST_BYTES = 16 * 1024
MOST_ANSWER_BYTES = 16 * 2**20
_LONGEST_ADDRESS = 100
"""Unix socket addresses hold 107 bytes on Linux and 103 on macOS."""

Handler = Callable[..., Awaitable[object]]
"""Answers one command with something that msgspec can write as JSON. Options come by name, as text."""


class NotRunningError(DhtnodeError):
    """Nobody listens on the socket."""


class Request(msgspec.Struct, frozen=True):
    command: str
    options: dict[str, str] = {}


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    ok: msgspec.Raw = msgspec.Raw()
    error: str = ""


@contextlib.asynccontextmanager
async def control_server(path: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Serve commands on `path` (mode 0600) inside the block. The caller holds the home's lock.

    Raises:
        ConfigError: the socket can't be made.
    """
    listener = _listener(path)
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(msgspec.json.encode(await _answer(line, handlers)) + b"\n")
                await writer.drain()
        except (OSError, ValueError) as error:  # gone, or a line over the limit
            log.debug("control connection ended: %r", error)
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_unix_server(serve, sock=listener, limit=MOST_REQUEST_BYTES)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.close()
        _remove(path)


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with disk_errors(path):
        _remove(path)  # left by a killed node; the lock says that nobody uses it
        with short_path(path) as address:
            listener.bind(str(address))
        path.chmod(0o600)  # before listen: nobody can have connected yet
    return listener


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _answer(line: bytes, handlers: Mapping[str, Handler]) -> Answer:
    try:
        request = msgspec.json.decode(line, type=Request)
    except msgspec.DecodeError as error:
        return Answer(error=f"not a request: {error}")
    handler = handlers.get(request.command)
    if handler is None:
        return Answer(error=f"no command {request.command!r}; there are {', '.join(sorted(handlers))}")
    try:
        return Answer(ok=msgspec.Raw(msgspec.json.encode(await handler(**request.options))))
    except DhtnodeError as error:
        return Answer(error=str(error))
    except Exception as error:  # a question must never end the node
        log.exception("control command %s failed", request.command)
        return Answer(error=f"{type(error).__name__}: {error}")


def ask(
    path: Path, command: str, timeout_s: float = 5.0, options: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """Send one command to the node behind `path` and return its result as JSON.

    Raises:
        NotRunningError: nobody listens there.
        ConfigError: the node does not answer in time, or refuses (FAILED).
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(timeout_s)
    with client:
        try:
            with short_path(path) as address:
                client.connect(str(address))
            client.sendall(msgspec.json.encode(Request(command, dict(options))) + b"\n")
            line = _read_line(client)
        except TimeoutError as error:
            raise ConfigError(
                f"the node behind {path} does not answer within {timeout_s:g} s; "
                "look at its node.log, or stop it with SIGTERM",
                Exit.FAILED,
            ) from error
        except PermissionError as error:
            raise ConfigError(
                f"{path} belongs to another user; ask as the user who runs the node", Exit.HOME
            ) from error
        except OSError as error:
            raise NotRunningError(f"no node runs behind {path}") from error
    answer = msgspec.json.decode(line, type=Answer)
    if answer.error:
        raise ConfigError(f"the node refuses '{command}': {answer.error}", Exit.FAILED)
    return bytes(answer.ok)


def _read_line(client: socket.socket) -> bytes:
    """One line; a connection that closes before its end counts as broken."""
    with client.makefile("rb") as stream:
        line = stream.readline(MOST_ANSWER_BYTES)
    if not line.endswith(b"\n"):
        raise ConnectionResetError("closed before the answer's end")
    return line


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[Path]:
    """A spelling of `path` that fits into a socket address, valid inside the block.

    A home may lie deep. The socket stays in the home; only the way to it is a short-lived symbolic
    link, because a relative path would need chdir, which changes the whole process.
    """
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dhtnode-", ignore_cleanup_errors=True) as folder:
        link = Path(folder) / "home"
        link.symlink_to(path.parent, target_is_directory=True)
        yield link / path.name
