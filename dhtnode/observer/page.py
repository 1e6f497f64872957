"""A member's page as an outsider can write it: the node's own document, as far as evidence goes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec

from dhtnode.alias import alias_of
from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import Manifest, terms_digest
from dhtnode.observer.chains import Chosen
from dhtnode.observer.evidence import Evidence
from dhtnode.observer.folding import Folding
from dhtnode.observer.view import printable
from dhtnode.presence import Presence
from dhtnode.records import Signed
from dhtnode.status import (
    AccountPart,
    AuditCount,
    AuditsPart,
    BranchPart,
    OfMePart,
    OutsidePart,
    PeerPart,
    PlausibilityPart,
    ReceiptsPart,
    ReputationPart,
    RoundPart,
    ShownPart,
    Status,
    SwarmPart,
    TermsPart,
    TrainingPart,
    share_ppm,
    totals,
)
from rewards.entries import peer_of, raw_key
from rewards.ledger import Ledger
from rewards.ownership import shares_ppm
from rewards.statement import account_of, changes_of
from training.in_force import TermsInForce
from training.messages import WHOLE, Head
from validation.appraisal import Appraisal, lower_median
from validation.messages import Verdict

WHY_KEPT = 20
UNKNOWN = (
    *("pid", "uptime_s", "round.phase", "round.reason", "round.left_s"),
    *("training.device", "training.eval_loss", "training.eval_round", "training.eval_accuracy"),
    *("training.steps", "training.tokens", "training.tokens_per_s", "training.utilisation", "traffic"),
    *("audits.kept", "audits.skipped", "audits.replay_s", "reputation.table"),
    *("reputation.vouchers", "deadlines_s", "storage"),
)
"""What only the node itself knows."""
_UNITS = {"text": "tokens", "digits": "samples"}
"""Of built-in tasks. Others say it in code that an outsider does not run."""
UNKNOWN_IF_PRIVATE = tuple(
    f"plausibility.{name}" for name in ("peers", "change", "change_round", "judges", "rising")
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an outsider has come to know beside the records of the ledger."""

    at_s: float
    """Unix time."""
    answered: frozenset[str]
    """Members that have answered."""
    presences: Mapping[str, Signed[Presence]]
    opinions: Sequence[Signed[Appraisal]]
    """Of the key, each by another member."""
    faults: Sequence[RemoteProtocolError]
    """What was sent that no honest peer sends."""
    notices: tuple[str, ...]


def page(
    manifest: Manifest, key: str, evidence: Evidence, chosen: Chosen, folding: Folding, seen: Seen
) -> Status:
    """The page of one key."""
    head, terms = chosen.newest.head, manifest.terms
    private = terms.data.mode == "private"
    ledger = folding.ledger(raw_key(key))
    presence = seen.presences.get(key)
    receipts = folding.receipts(key)
    tokens = sum(one.body.tokens for one in receipts)
    swarm_tokens = folding.accepted_tokens(receipts[0].body.round) if receipts else 0
    dropped = _dropped([*seen.faults, *folding.faults])
    return Status(
        running=key in seen.answered,
        saved_at_s=seen.at_s,
        version=version("dhtnode"),
        swarm=SwarmPart(id=manifest.swarm_id.hex(), name=terms.name),
        terms=_terms(folding.terms, head),
        alias=alias_of(key),
        peer_id=key,
        addresses=_addresses(presence) if presence else (),
        peers=tuple(
            _peer(one, head.members, seen) for peer, one in sorted(seen.presences.items()) if peer != key
        ),
        round=RoundPart(
            number=head.number,
            total=folding.terms.now.round.rounds,
            phase="",
            state_digest=head.state.hex(),
            roster=head.members,
            votes=tuple(vote / WHOLE for vote in head.votes),
        ),
        training=TrainingPart(
            task=terms.task.kind,
            unit=_UNITS.get(terms.task.kind, "units"),
            parameters=folding.parameters,
            loss=receipts[-1].body.loss_micro / 1e6 if receipts else None,
        ),
        receipts=ReceiptsPart(
            rounds=len(receipts),
            tokens=tokens,
            last_round=receipts[-1].body.round if receipts else None,
            share_ppm=share_ppm(tokens, swarm_tokens),
        ),
        audits=AuditsPart(
            of_me=_counted([one for one in folding.verdicts if one.body.worker == key]),
            by_me=_counted([one for one in folding.verdicts if one.signer == key]),
            excluded={peer: case.text for peer, case in folding.cases.items()},
        ),
        plausibility=PlausibilityPart() if private else None,
        reputation=ReputationPart(of_me=_trust(seen.opinions)),
        rewards=account_of(ledger, raw_key(key), folding.number, folding.missing_rounds),
        why=tuple(changes_of(ledger, folding.number)[:WHY_KEPT]),
        branch=BranchPart(
            since_round=head.since,
            reason=f"went on without a quorum, founded by {head.founder}",
            tokens=head.tokens,
        )
        if head.marks
        else None,
        rejected=totals(dropped),
        rejected_by_peer=dropped,
        notices=seen.notices,
        outside=OutsidePart(
            shown=tuple(_shown(peer, evidence, chosen, folding) for peer in sorted(evidence.shown_by)),
            accounts=_accounts(ledger, folding.number),
            entries_root=folding.entries.root.hex(),
            unknown=UNKNOWN + (UNKNOWN_IF_PRIVATE if private else ()),
        ),
    )


def _terms(in_force: TermsInForce, head: Head) -> TermsPart:
    """Nothing where amendments that the chain has adopted were not shown."""
    if in_force.adopted != head.amendments:
        return TermsPart()
    return TermsPart(
        digest=terms_digest(in_force.now).hex(),
        since_round=in_force.since,
        amendments=tuple(id_.hex() for id_ in in_force.adopted),
        next_round=in_force.next_change(head.number),
    )


def document(status: Status) -> dict[str, Any]:
    """A page as plain values, with null for what is not known."""
    plain: dict[str, Any] = msgspec.to_builtins(status)
    for name in status.outside.unknown if status.outside else ():
        part, _, field = name.rpartition(".")
        (plain[part] if part else plain)[field] = None
    return plain


def _peer(presence: Signed[Presence], members: Sequence[str], seen: Seen) -> PeerPart:
    body = presence.body
    return PeerPart(
        peer_id=presence.signer,
        addresses=_addresses(presence),
        round=body.round,
        last_seen_s=0.0 if presence.signer in seen.answered else max(0.0, seen.at_s - body.made_at_s),
        member=presence.signer in members,
    )


def _addresses(presence: Signed[Presence]) -> tuple[str, ...]:
    return tuple(map(printable, presence.body.addresses))


def _counted(verdicts: Sequence[Signed[Verdict]]) -> AuditCount:
    said = [verdict.body.outcome for verdict in verdicts]
    return AuditCount(passed=said.count("pass"), unsure=said.count("unsure"), failed=said.count("fail"))


def _trust(opinions: Sequence[Signed[Appraisal]]) -> OfMePart:
    trusts = [one.body.trust for one in opinions]
    return OfMePart(median=lower_median(trusts), lowest=min(trusts, default=None), observers=len(trusts))


def _accounts(ledger: Ledger, number: int) -> tuple[AccountPart, ...]:
    balances = ledger.balances(max(number, ledger.next_round))
    shares = shares_ppm({one.key: one.vested for one in balances if one.vested})
    return tuple(
        AccountPart(
            peer=peer_of(one.key),
            vested=one.vested,
            stake=one.stake,
            ownership_ppm=shares.get(one.key, 0),
        )
        for one in balances
    )


def _shown(peer: str, evidence: Evidence, chosen: Chosen, folding: Folding) -> ShownPart:
    """What a member has shown, against all that the page rests on."""
    has = evidence.shown_by[peer]
    stands = evidence.stands.get(peer)
    number = stands.head.number if stands else 0
    lacking = {
        id_: round_no for id_, round_no in folding.used.items() if id_ not in has and round_no < number
    }
    verdicts = {id_ for id_ in lacking if _is_verdict(id_, evidence)}
    against = {case.guilty for id_, case in evidence.cases.items() if id_ in has}
    fault = evidence.faults.get(peer) or chosen.faults.get(peer)
    return ShownPart(
        peer=peer,
        round=number if stands else None,
        records=len(has),
        lacking_rounds=len({round_no for id_, round_no in lacking.items() if id_ not in verdicts}),
        lacking_verdicts=len(verdicts) + len(folding.cases.keys() - against),
        fault=printable(f"{fault.reason}: {fault.detail}") if fault else "",
    )


def _is_verdict(id_: bytes, evidence: Evidence) -> bool:
    record = evidence.records.get(id_)
    return record is not None and isinstance(record.body, Verdict)


def _dropped(faults: Sequence[RemoteProtocolError]) -> dict[str, dict[str, int]]:
    by_peer: dict[str, dict[str, int]] = {}
    for fault in faults:
        reasons = by_peer.setdefault(fault.peer, {})
        reasons[fault.reason] = reasons.get(fault.reason, 0) + 1
    return by_peer
