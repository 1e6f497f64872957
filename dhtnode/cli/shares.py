"""`dhtnode ledger prove`: a member's share as a small file, and its check against a root or a checkpoint."""

from __future__ import annotations

from pathlib import Path

from dhtnode.errors import ConfigError, Exit
from dhtnode.files import replacing
from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest
from dhtnode.reward import PPM
from rewards.entries import peer_of, raw_key
from rewards.ownership import ROOT, Proof, Table, parse_proof, read_table, verify
from training.checkpoint import DamagedCheckpointError, read_notes


def prove_share(home: Home, out: Path) -> None:
    """Write the own row of the newest checkpoint's table, with the way to its root.

    Raises:
        ConfigError: FAILED (1); no checkpoint has a table, or this node owns nothing in it.
    """
    swarm_id = Manifest.load(home.manifest_path).swarm_id
    peer = Identity.load(home.identity_path).peer_id
    table = _newest_table(home, swarm_id)
    proof = table.prove(raw_key(peer)) if table else None
    if table is None or proof is None:
        why = "no checkpoint has a table of shares yet" if table is None else f"{peer} owns nothing yet"
        raise ConfigError(f"{why}: credits vest after some rounds, see 'dhtnode status'", Exit.FAILED)
    with replacing(out) as draft:
        draft.write_bytes(proof.wire)
    print(f"{out}: {_said(proof)}")
    print(f"root {table.root.hex()}: whoever has it, or a checkpoint of that round, can check the file")


def verify_share(file: Path, manifest_path: Path, root: str | None, checkpoint: Path | None) -> None:
    """Check a member's share and print what it says.

    Raises:
        ConfigError: USAGE (2) without anything to check it against; FAILED (1) if it proves nothing.
    """
    swarm_id = Manifest.load(manifest_path).swarm_id
    try:
        proof = parse_proof(file.read_bytes())
        trusted = _trusted_root(root, checkpoint)
    except (OSError, ValueError, DamagedCheckpointError) as error:
        raise ConfigError(f"{file} can't be checked: {error}", Exit.FAILED) from error
    if proof.row.swarm_id != swarm_id or not verify(proof, trusted):
        raise ConfigError(f"{file} proves nothing: no such row is under root {trusted.hex()}", Exit.FAILED)
    print(f"{peer_of(proof.row.key)} {_said(proof)}: good, under root {trusted.hex()}")


def _trusted_root(root: str | None, checkpoint: Path | None) -> bytes:
    """What to check against.

    Raises:
        ValueError, DamagedCheckpointError: that is no root.
    """
    if root is None and checkpoint is not None:
        root = read_notes(checkpoint).get(ROOT, "")
    if root is None:
        raise ConfigError(
            "a share is checked against a table that you trust: give --checkpoint FILE of your own node, "
            "or --root HEX",
            Exit.USAGE,
        )
    return bytes.fromhex(root)


def _newest_table(home: Home, swarm_id: bytes) -> Table | None:
    """The table in the checkpoint of the latest round that has one."""
    found = []
    for path in home.checkpoints.glob("*.safetensors"):
        try:
            notes = read_notes(path)
            table = read_table(notes, swarm_id)
        except (ValueError, DamagedCheckpointError) as error:
            raise ConfigError(f"{path}: {error}", Exit.FAILED) from error
        if table is not None:
            found.append((table.rows[0].round, table))
    return max(found, key=lambda one: one[0])[1] if found else None


def _said(proof: Proof) -> str:
    row = proof.row
    return f"owns {row.share_ppm / PPM:.4%}, {row.vested / PPM:,.6f} credits, before round {row.round}"
