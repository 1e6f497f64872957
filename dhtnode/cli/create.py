"""`dhtnode swarm new`: from a few wishes to a signed manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dhtnode.cli.values import toml_value
from dhtnode.errors import ConfigError, Exit
from dhtnode.files import SHARED, disk_errors, replacing
from dhtnode.home import Home, data_cache, default_home
from dhtnode.identity import Identity
from dhtnode.manifest import FORMAT, DataSection, InnerSection, Manifest, Terms, plain_error
from training.data import builtin_text, describe, read_file
from training.tasks import load_task, read_code

PRIVATE = DataSection(mode="private")
PRESETS: dict[str, dict[str, Any]] = {
    "text": {
        "inner.options": {"lr": 8e-3, "betas": [0.8, 0.95], "eps": 1e-4, "weight_decay": 0.1},
        "inner.steps": [[0, 4], [10, 10], [25, 20]],
        "inner.clip_norm": 0.5,
        "inner.round_warmup": 1,
        "outer.lr": 0.7,
        "outer.momentum": 0.8,
        "wire.codec": "int4",
        "wire.block_elems": 128,
    },
    "digits": {
        "inner.optimizer": "SGD",
        "inner.options": {"lr": 0.2, "momentum": 0.9},
        "inner.steps": [[0, 10]],
        "inner.batch_size": 32,
        "outer.lr": 1.0,
        "outer.momentum": 0.0,
        "wire.chunk_elems": 1024,
    },
}
"""What suits a task better than the manifest's defaults; whatever the user asks for goes before it.

text: from the study in docs/convergence.md: short rounds early, a learning rate that rises again in
each round, Nesterov outside; coarser codes cost less loss than longer rounds.
digits: FedAvg as in arXiv:1602.05629, the best of 16 settings on four non-IID shards; AdamW stayed
15 points lower there. Its 9,034 weights want smaller chunks, or one member would reduce them all.
"""


PRIVATE_RULE = "mean"
"""Shards that each know few labels pull apart so far that clipping takes most members for cheats: such
swarms know their members, and average."""


@dataclass(frozen=True)
class NewSwarm:
    """What the creator asked for; None leaves the manifest's default."""

    task: str
    name: str
    data: Path | None = None
    rounds: int | None = None
    min_peers: int | None = None
    inner_steps: str | None = None
    batch: int | None = None
    lr: float | None = None
    codec: str | None = None
    peers: tuple[str, ...] = ()
    here: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def new_swarm(wish: NewSwarm, out: Path, home: Path | None, *, force: bool) -> None:
    """Write the manifest and say what to do next.

    Raises:
        ConfigError: a wish is wrong, the data can't be read, or `out` exists.
    """
    manifest = write_swarm(wish, out, home or default_home(wish.name), force=force)
    own_data = " --data FILE" if manifest.terms.data.mode == "private" else ""
    door = "" if wish.peers or wish.here else " --peer ADDRESS"
    given = f" --home {home}" if home else ""
    print(
        f"wrote {out}: swarm '{wish.name}', id {manifest.swarm_id.hex()}\n"
        f"Start it here:       dhtnode run {out}{own_data}{given}\n"
        f"Others, with a copy: dhtnode run {out.name}{own_data}{door}"
    )
    if own_data:
        print("FILE holds the data of that one node; it is never sent.")
    if door:
        print("ADDRESS is what your node prints when it runs; 'dhtnode status' shows it too.")


def write_swarm(wish: NewSwarm, out: Path, home_root: Path, *, force: bool) -> Manifest:
    """Write the manifest, signed with the key of a home. Raises as `new_swarm`."""
    if out.exists() and not force:
        raise ConfigError(f"{out} exists; give another --out, or --force to replace it", Exit.USAGE)
    home = Home.open(home_root)
    if home.manifest_path.exists():
        owner = Manifest.load(home.manifest_path).terms.name
        raise ConfigError(
            f"home {home.root} belongs to swarm '{owner}' already; give another --name or --home", Exit.HOME
        )
    creator = home.identity()
    terms = make_terms(wish, creator, out.absolute().parent)
    manifest = Manifest.create(terms, creator)
    with replacing(out.absolute(), SHARED) as draft:
        draft.write_text(manifest.dump(), encoding="utf-8")
    return manifest


def make_terms(wish: NewSwarm, creator: Identity, folder: Path) -> Terms:
    """The terms that follow from a wish; `folder` is where the manifest will lie.

    A task of one's own is put there too, and shared data into the cache, where the nodes of this
    user find it.

    Raises:
        ConfigError: exit code USAGE for a wrong option, DATA for data that can't be used, MANIFEST
            for a task that does not run.
    """
    content = _shared_data(wish)
    table: dict[str, Any] = {"format": FORMAT, "name": wish.name, "creator": creator.peer_id}
    table["task"] = _task_table(wish.task, folder)
    table["data"] = msgspec.to_builtins(PRIVATE if content is None else describe(content, PRIVATE.held_out))
    if content is None:
        table["reduce"] = {"rule": PRIVATE_RULE}
    table["inner"] = {"options": dict(InnerSection().options)}
    wishes = _wishes(wish, creator)
    preset = dict(PRESETS.get(wish.task, {}))
    usual = preset.get("inner.optimizer", InnerSection().optimizer)
    if wishes.get("inner.optimizer", usual) != usual:
        preset.pop("inner.options", None)  # another optimizer has other options
    for key, value in {**preset, **wishes}.items():
        _put(table, key, value)
    try:
        terms = msgspec.convert(table, Terms, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"these options make no valid manifest: {plain_error(error)}; see 'dhtnode swarm new --help'",
            Exit.USAGE,
        ) from error
    return _settle(terms, content, folder)


def _settle(terms: Terms, content: bytes | None, folder: Path) -> Terms:
    """Write the task's defaults out, and hold the data against the task."""
    task = load_task(terms.task, folder)
    options = getattr(task, "options", None)
    if isinstance(options, msgspec.Struct):
        section = msgspec.structs.replace(terms.task, options=msgspec.to_builtins(options))
        terms = msgspec.structs.replace(terms, task=section)
    if content is not None and terms.data.digest is not None:
        task.shard(content, terms.data.held_out)
        with disk_errors(data_cache()):
            data_cache().mkdir(parents=True, exist_ok=True)
        with replacing(data_cache() / terms.data.digest) as draft:
            draft.write_bytes(content)
    return terms


def _shared_data(wish: NewSwarm) -> bytes | None:
    """What all members share; None where each brings its own."""
    if wish.data is not None:
        return read_file(wish.data)
    return builtin_text() if wish.task == "text" else None


def _task_table(kind: str, folder: Path) -> dict[str, Any]:
    """The task section; puts the file of an own task beside the manifest."""
    file, colon, name = kind.rpartition(":")
    if not colon:
        return {"kind": kind}
    source = Path(file)
    code = read_code(source)
    beside = folder / source.name
    if not beside.exists():
        with replacing(beside, SHARED) as draft:
            draft.write_bytes(code)
    elif read_code(beside) != code:
        raise ConfigError(f"{beside} is another file than {source}; remove one of them", Exit.USAGE)
    return {"kind": f"{source.name}:{name}", "code_digest": hashlib.sha256(code).hexdigest()}


def _wishes(wish: NewSwarm, creator: Identity) -> dict[str, Any]:
    """The manifest's keys that the user asked for."""
    asked: dict[str, Any] = {
        "round.rounds": wish.rounds,
        "round.min_peers": wish.min_peers,
        "inner.steps": None if wish.inner_steps is None else parse_schedule(wish.inner_steps),
        "inner.batch_size": wish.batch,
        "inner.options.lr": wish.lr,
        "wire.codec": wish.codec,
        "network.bootstrap": [*wish.peers, *(f"{place}/p2p/{creator.peer_id}" for place in wish.here)],
    }
    for setting in wish.settings:
        key, found, value = setting.partition("=")
        if not found:
            raise ConfigError(f"--set {setting} has no '='; write --set section.key=value", Exit.USAGE)
        asked[key.strip()] = toml_value(value)
    return {key: value for key, value in asked.items() if value is not None}


def parse_schedule(text: str) -> list[list[int]]:
    """`25`, or `2,20:8,60:25`: steps from round 0, then ROUND:STEPS.

    Raises:
        ConfigError: exit code USAGE.
    """
    pairs = []
    for entry in text.split(","):
        start, found, steps = entry.rpartition(":")
        try:
            pairs.append([int(start) if found else 0, int(steps)])
        except ValueError as error:
            raise ConfigError(
                f"--inner-steps {text}: {entry!r} is not STEPS or ROUND:STEPS; write for example 2,20:8",
                Exit.USAGE,
            ) from error
    return pairs


def _put(table: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, sections made on the way."""
    *sections, last = key.split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {key}: {section} is no section; see 'dhtnode swarm show'", Exit.USAGE)
    table[last] = value
