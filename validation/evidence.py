"""What signed records say about a peer, as the pieces that trust is added up from.

Records travel, opinions don't: whatever is here rests on a record that anybody can check, and each node
makes its own table of it (`reputation`). A piece of evidence names the record, so every change of a
number can be traced to what somebody has signed.

work      accepted rounds, audits of local runs and of reductions
audit     whether a peer's own verdicts hold: they were done again, or this node has found the same
liveness  accepted rounds, and rounds that did not wait for it
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dhtnode.errors import LocalProtocolError
from dhtnode.records import Signed
from training.chain import Certificate
from training.messages import Commitment, Head
from training.roster import quorum
from validation.cases import Case, Charge, is_free, is_whole
from validation.messages import Outcome, Subject, Verdict

Context = Literal["work", "audit", "liveness"]
Term = Literal["passed", "accepted", "late", "unsure", "refuted", "upheld", "proven"]
"""As in `dhtnode.reputation`; `proven` needs no number, it ends all trust."""

CONTEXTS: tuple[Context, ...] = ("work", "audit", "liveness")
_OF_SUBJECT: dict[Subject, Context] = {"work": "work", "reduction": "work", "audit": "audit"}
_OF_CHARGE: dict[Charge, Context] = {
    "work": "work",
    "reduction": "work",
    "audit": "audit",
    "withholding": "work",
    "accusation": "audit",
    "acquittal": "audit",
    "equivocation": "work",
}
_OF_OUTCOME: dict[Outcome, Term] = {"pass": "passed", "unsure": "unsure"}
CAUSES: dict[tuple[Context, Term], str] = {
    ("work", "passed"): "its work was done again and is as committed",
    ("work", "accepted"): "a round took its work in",
    ("work", "unsure"): "its work was done again, and is neither near nor far",
    ("work", "upheld"): "a majority of the round found its work false",
    ("work", "proven"): "it signed two records that contradict each other",
    ("audit", "passed"): "its verdict was checked and holds",
    ("audit", "unsure"): "its verdict was checked, and neither holds nor fails",
    ("audit", "refuted"): "a majority of the round found sound what it had doubted",
    ("audit", "upheld"): "a majority of the round found its verdict false",
    ("liveness", "accepted"): "its work was there in time",
    ("liveness", "late"): "a round ended without its work",
}
"""All that there can be, in plain words."""
TOLD: tuple[Term, ...] = ("passed", "unsure")
"""What a single verdict says; all else follows from certified heads, and from majorities."""


@dataclass(frozen=True)
class Evidence:
    """One piece: about whom, what, of which round, and who says so."""

    peer: str
    context: Context
    term: Term
    round_no: int
    about: bytes
    """Id of what it is about. One teller counts once for one thing, however often it says it."""
    record: bytes
    """Id of the record that shows it."""
    teller: str = ""
    """Whose word it is; empty where this node has seen it itself, or where nobody's word is needed."""

    def __post_init__(self) -> None:
        if (self.context, self.term) not in CAUSES:
            raise LocalProtocolError(f"nothing is {self.term} in the context {self.context}")
        if self.teller and self.term not in TOLD:
            raise LocalProtocolError(f"{self.term} rests on nobody's word")

    @property
    def cause(self) -> str:
        """In plain words."""
        cause = CAUSES[self.context, self.term]
        return f"{self.teller} says: {cause}" if self.teller else cause


def of_round(certificate: Certificate, works: Iterable[Signed[Commitment]]) -> list[Evidence]:
    """Whose work a closed round has accepted, of what it took in."""
    return [
        Evidence(work.signer, context, "accepted", work.body.round, work.id, work.id)
        for work in works
        if work.id in certificate.head.accepted
        for context in ("work", "liveness")
    ]


def of_absence(before: Head, closed: Certificate, left: Collection[str]) -> list[Evidence]:
    """Which members of a head did not come into the round after it.

    Args:
        before: the head that the round began with.
        closed: what it ended with.
        left: who has said that it goes, or is out.
    """
    absent = set(before.members) - set(closed.head.members) - set(left)
    return [
        Evidence(peer, "liveness", "late", before.number, closed.id, closed.id) for peer in sorted(absent)
    ]


def of_verdict(verdict: Signed[Verdict], me: str) -> Evidence | None:
    """What a verdict says about whose record it is on; the own ones are first-hand.

    A `fail` says nothing by itself: what it is worth a majority decides (`of_case`), and until then `rates`
    has the member looked at more closely.
    """
    body = verdict.body
    term = _OF_OUTCOME.get(body.outcome)
    if term is None:
        return None
    teller = "" if verdict.signer == me else verdict.signer
    return Evidence(body.worker, _OF_SUBJECT[body.about], term, body.round, body.target, verdict.id, teller)


def of_agreement(own: Signed[Verdict], other: Signed[Verdict]) -> Evidence | None:
    """Another's verdict is the same as this node's on the same record: it has judged well."""
    mine, theirs = own.body, other.body
    same = mine.target == theirs.target and mine.outcome == theirs.outcome
    if not same or mine.outcome == "unsure" or own.signer == other.signer:
        return None
    return Evidence(other.signer, "audit", "passed", theirs.round, other.id, other.id)


def of_refutation(verdicts: Collection[Signed[Verdict]], electors: Sequence[str]) -> list[Evidence]:
    """Whose doubt a majority has found groundless.

    Args:
        verdicts: all on one record.
        electors: of that round.
    """
    whole = [one for one in verdicts if one.body.outcome == "pass" and is_whole(one)]
    if sum(one.signer in electors for one in whole) < quorum(electors):
        return []
    return [
        Evidence(one.signer, "audit", "refuted", one.body.round, one.body.target, one.id)
        for one in verdicts
        if is_free(one)
    ]


def of_case(case: Case) -> Evidence:
    """What a case proves. Of two cases on one record only one counts: majorities have many subsets."""
    term: Term = "proven" if case.charge == "equivocation" else "upheld"
    return Evidence(case.guilty, _OF_CHARGE[case.charge], term, case.round_no, case.records[0].id, case.id)
