"""Asking a node over its socket: its owner only, at once, and with a plain word when nobody answers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import pytest

from dhtnode.control import NotRunningError, ask, control_server, short_path
from dhtnode.errors import ConfigError


async def status() -> dict[str, int]:
    return {"round": 3}


async def broken() -> object:
    raise ZeroDivisionError("a bug")


async def asks(path: Path, command: str, timeout_s: float = 5.0) -> object:
    return json.loads(await asyncio.to_thread(ask, path, command, timeout_s))


async def test_a_node_answers_its_owner_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with control_server(path, {"status": status}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await asks(path, "status") == {"round": 3}
    assert not path.exists()


async def test_one_connection_may_ask_several_times(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with control_server(path, {"status": status}):
        reader, writer = await asyncio.open_unix_connection(path)
        for request in (b'{"command": "status"}\n', b"not json\n", b'{"command": "status"}\n'):
            writer.write(request)
        answers = [json.loads(await reader.readline()) for _ in range(3)]
        writer.close()
        await writer.wait_closed()
    assert answers[0] == answers[2] == {"ok": {"round": 3}}
    assert answers[1]["error"].startswith("not a request")


async def test_a_bad_question_never_ends_the_node(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with control_server(path, {"status": status, "broken": broken}):
        with pytest.raises(ConfigError, match="no command 'dance'; there are broken, status"):
            await asks(path, "dance")
        with pytest.raises(ConfigError, match="ZeroDivisionError: a bug"):
            await asks(path, "broken")
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * 100_000)
        assert await reader.read() == b""
        writer.close()
        assert await asks(path, "status") == {"round": 3}


async def test_a_socket_that_a_killed_node_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with pytest.raises(NotRunningError):
        ask(path, "status")
    async with control_server(path, {"status": status}):
        assert await asks(path, "status") == {"round": 3}


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        ask(tmp_path / "control.sock", "status")


async def test_a_node_that_hangs_is_named(tmp_path: Path) -> None:
    hanging = asyncio.Event()

    async def never() -> object:
        return await hanging.wait()

    async with control_server(tmp_path / "control.sock", {"status": never}):
        with pytest.raises(ConfigError, match=r"control.sock does not answer within 0.1 s"):
            await asks(tmp_path / "control.sock", "status", timeout_s=0.1)
        hanging.set()


async def test_a_home_may_lie_deep(tmp_path: Path) -> None:
    home = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    home.mkdir(parents=True)
    path = home / "control.sock"
    assert len(os.fsencode(path)) > 107
    async with control_server(path, {"status": status}):
        assert stat.S_ISSOCK(path.lstat().st_mode)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert await asks(path, "status") == {"round": 3}
    assert not path.exists()


def test_a_short_way_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120) / "control.sock"
    with short_path(path) as address:
        assert len(os.fsencode(address)) < 104
        assert address.parent.resolve() == path.parent
    assert not address.parent.exists()
