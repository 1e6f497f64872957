"""`dhtnode ledger`: an epoch's balances as a signed file, and the check of such a file.

Export reads the store of a home, whether its node runs or not. Verify needs the file and the manifest and
nothing else. Neither loads torch or a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

from dhtnode.errors import ConfigError, Exit
from dhtnode.files import replacing
from dhtnode.home import Home
from dhtnode.identity import Identity
from dhtnode.manifest import Manifest
from dhtnode.reward import PPM
from dhtnode.store import Store
from rewards.book import PARAMETERS, Book
from rewards.entries import Kind
from rewards.export import (
    Export,
    ExportError,
    check_export,
    make_export,
    parse_export,
    sign_export,
    signers_of,
    to_csv,
    to_json,
)
from rewards.heads import Heads
from rewards.stored import stored_rules

Format = Literal["json", "csv"]


def export_ledger(home: Home, epoch: int, form: Format, out: Path, *, sign: bool) -> None:
    """Write an epoch's balances, or add this node's signature to a file that has the same.

    Raises:
        ConfigError: FAILED (1): the epoch has not ended here, rounds of it are missing, this key may not
            sign, or the file holds other balances.
    """
    manifest = Manifest.load(home.manifest_path)
    export = _from_store(home, manifest, epoch)
    if out.exists():
        export = _with_signatures(export, out)
    if sign:
        identity = Identity.load(home.identity_path)
        if identity.peer_id not in manifest.terms.reward.export_keys:
            raise ConfigError(
                f"{identity.peer_id} is none of the manifest's reward.export_keys; leave out --sign",
                Exit.FAILED,
            )
        export = sign_export(export, identity)
    with replacing(out) as draft:
        draft.write_bytes(to_json(export) if form == "json" else to_csv(export))
    reward = manifest.terms.reward
    print(
        f"{out}: epoch {epoch}, {len(export.lines)} members, entries {export.entries_root[:12]}, "
        f"{len(signers_of(export, reward))} of {reward.export_quorum} signatures"
    )


def verify_ledger(file: Path, manifest_path: Path) -> None:
    """Check an exported file and print what it says.

    Raises:
        ConfigError: FAILED (1): it is damaged, changed, of another swarm, or not signed by enough keys.
    """
    manifest = Manifest.load(manifest_path)
    reward = manifest.terms.reward
    export = _read(file)
    try:
        check_export(export, manifest.swarm_id, reward)
    except ExportError as error:
        raise ConfigError(f"{file} proves nothing: {error}", Exit.FAILED) from error
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]epoch {export.epoch} of swarm '{manifest.terms.name}', before round {export.round}: good.[/] "
        f"Signed by {len(signers_of(export, reward))} of its {len(reward.export_keys)} keys, "
        f"{reward.export_quorum} needed; sums, shares and proofs fit."
    )
    console.print(f"entries {export.entries_root}, shares {export.ownership_root}, head {export.head}")
    table = Table("member", "vested", "at stake", "burned", "share", box=None, padding=(0, 2, 0, 0))
    for line in export.lines:
        amounts = (f"{amount / PPM:,.6f}" for amount in (line.vested, line.stake, line.burned))
        table.add_row(line.peer, *amounts, f"{line.share_ppm / PPM:.4%}")
    console.print(table)


def _from_store(home: Home, manifest: Manifest, epoch: int) -> Export:
    """The export as this home's own entries make it."""
    reward = manifest.terms.reward
    end = (epoch + 1) * reward.epoch_rounds
    with Store.open_reader(home.store_path) as store:
        followed = Heads(store).followed
        parameters = store.fact(PARAMETERS)
        newest = max(followed, default=-1) + 1
        if parameters is None or newest < end:
            raise ConfigError(
                f"epoch {epoch} ends with round {end - 1}, and here {newest} rounds have closed; "
                "wait, or export an epoch that has ended",
                Exit.FAILED,
            )
        book = Book(store, stored_rules(store, manifest, newest, int.from_bytes(parameters, "big")))
        if epoch < book.first_epoch:
            raise ConfigError(
                f"epoch {epoch} is folded away here, the first that is not is {book.first_epoch}; "
                "export epochs sooner after they have ended",
                Exit.FAILED,
            )
        lacking = book.missing(followed, store.entry_rounds(Kind.REDUCTION), end)
        if lacking:
            raise ConfigError(
                f"this node was not there for {lacking} rounds up to epoch {epoch}, "
                "so its balances lack them; export from a node that was",
                Exit.FAILED,
            )
        balances = book.ledger(followed, last_epoch=epoch).balances(end)
        root = book.root(epoch)
    return make_export(manifest.swarm_id, epoch, reward, followed[end - 1], root, balances)


def _with_signatures(export: Export, out: Path) -> Export:
    """The same with the signatures of a file that says the same."""
    before = _read(out)
    signed = msgspec.structs.replace(export, signatures=before.signatures)
    if signed != before:
        differs = "entries" if before.entries_root != export.entries_root else "content"
        raise ConfigError(
            f"{out} holds another export: its {differs} are not what this node has; "
            "give another --out, or ask its signers which records they have",
            Exit.FAILED,
        )
    return signed


def _read(file: Path) -> Export:
    try:
        return parse_export(file.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"cannot read {file}: {error.strerror}; give an exported file", Exit.FAILED
        ) from error
    except ExportError as error:
        raise ConfigError(f"{file} is damaged or no export: {error}", Exit.FAILED) from error
