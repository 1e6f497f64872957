"""What a node tells about itself: one document, the same over the socket, in the store and as JSON.

`docs/status.md` describes it for readers. Fields are only ever added while `schema` stays the same;
a field that changes its meaning or goes away raises `schema`. Unknown is `null`, never a made-up 0.
"""

from __future__ import annotations

import msgspec

from dhtnode.errors import ConfigError, Exit
from dhtnode.reward import PPM

SCHEMA = 1


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all parts. Keys that a newer node added are ignored on reading."""


class SwarmPart(Part, frozen=True, kw_only=True):
    """The swarm that the node is a member of."""

    id: str
    """Digest of the manifest, hex."""
    name: str


class TermsPart(Part, frozen=True, kw_only=True):
    """What the swarm's members have agreed on: the manifest, and the amendments adopted since."""

    digest: str = ""
    """Of the terms in force, hex: equal on all members in the same round."""
    since_round: int = 0
    """First round under them; 0: the manifest's."""
    amendments: tuple[str, ...] = ()
    """Ids of all that were adopted, hex, in order; `dhtnode proposals` shows them."""
    next_round: int | None = None
    """In which an adopted one takes effect next."""


class PeerPart(Part, frozen=True, kw_only=True):
    """Another member, as this node sees it."""

    peer_id: str
    addresses: tuple[str, ...] = ()
    round: int | None = None
    """The round it last announced."""
    last_seen_s: float | None = None
    """Seconds since this node last heard of it."""
    member: bool = False
    """Whether it is in the roster of the last certified round."""


class RoundPart(Part, frozen=True, kw_only=True):
    """Where the node is in the swarm's rounds."""

    number: int = 0
    """The round in progress, from 0; also the number of finished rounds."""
    total: int | None = None
    """Rounds that the manifest asks for."""
    phase: str = "starting"
    reason: str = ""
    """What the node waits for, in words."""
    left_s: float | None = None
    """Seconds until the phase's deadline."""
    state_digest: str | None = None
    """Digest of the model state at the start of this round, hex: equal on all members."""
    roster: tuple[str, ...] = ()
    """Peer ids of the last certified roster, in its order."""
    votes: tuple[float, ...] = ()
    """What each of them counts for, 0, 0.5 or 1, in the same order; all 0: all count alike."""


class TrainingPart(Part, frozen=True, kw_only=True):
    """The work of this node."""

    task: str = ""
    device: str = ""
    parameters: int | None = None
    """Weights of the model."""
    loss: float | None = None
    """Mean training loss of the last local run, nats for text."""
    eval_loss: float | None = None
    """Loss of the shared state on held-out data."""
    eval_round: int | None = None
    """Which round's start that state is; one behind `round.number` while it is being judged."""
    eval_accuracy: float | None = None
    """Share of right answers there, for tasks that have such."""
    steps: int = 0
    """Inner steps since the home exists."""
    unit: str = "tokens"
    """What the task counts its work in: `tokens`, `samples`; here and wherever a field is called tokens."""
    tokens: int = 0
    """Tokens (samples, for tasks without tokens) trained since the home exists."""
    tokens_per_s: float | None = None
    utilisation: float | None = None
    """Share of wall time spent in training since the node joined, 0 to 1."""


class TrafficPart(Part, frozen=True, kw_only=True):
    """Bytes of all protocols of this node since the home exists."""

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_by: dict[str, int] = {}
    """Bytes sent since the node was started, by protocol: `gossip`, `part`, `result`, `sync`, `work`, ..."""


class ReceiptsPart(Part, frozen=True, kw_only=True):
    """Signed receipts for this node's work."""

    rounds: int = 0
    """Finished rounds with a receipt of this node's work."""
    tokens: int = 0
    """Tokens that those receipts name."""
    last_round: int | None = None
    share_ppm: int | None = None
    """Millionths of all that the swarm's receipts name, since the first round with one of this node's."""


class AuditCount(Part, frozen=True, kw_only=True):
    """Verdicts since the home exists."""

    passed: int = 0
    unsure: int = 0
    failed: int = 0


class AuditsPart(Part, frozen=True, kw_only=True):
    """Who checked whom (work, reductions and audits), and who is out for what."""

    of_me: AuditCount = AuditCount()
    """Others' verdicts on this node's work, reductions and audits."""
    by_me: AuditCount = AuditCount()
    """This node's verdicts on others'."""
    kept: int = 0
    """Drawn audits that this node was seen to do, since it was started."""
    skipped: dict[str, int] = {}
    """Drawn audits that were not done, by peer id, this node's own among them, since it was started."""
    replay_s: float = 0.0
    """Seconds that this process has spent in replays."""
    excluded: dict[str, str] = {}
    """Peer ids whose work this node takes in no more, and why, in words."""


class SuspicionPart(Part, frozen=True, kw_only=True):
    """How often one member's work looked odd to this node, which reduced parts of it."""

    parts: int = 0
    """Parts that this node has looked at since it started."""
    length: int = 0
    """Of these: far longer or shorter than the others'."""
    direction: int = 0
    """Not going the way that all others went."""
    twin: int = 0
    """Nearly the same as another member's."""
    echo: int = 0
    """Nearly the last round's result."""


class PlausibilityPart(Part, frozen=True, kw_only=True):
    """Private mode, where nothing can be replayed: what looks odd. Suspicion, never a proof."""

    peers: dict[str, SuspicionPart] = {}
    """By peer id, this node's own among them."""
    change: float | None = None
    """What the last round that was judged did to the held-out loss: lower median over the members."""
    change_round: int | None = None
    """Which round that was."""
    judges: int = 0
    """Members that have judged the states before and after it."""
    rising: bool = False
    """Whether that loss has stood well above its lowest for several rounds."""


class OfMePart(Part, frozen=True, kw_only=True):
    """Trust in this node's work as others have signed it, in millionths."""

    median: int | None = None
    """The lower one, where two are in the middle."""
    lowest: int | None = None
    observers: int = 0
    """Members that have answered."""


class TrustPart(Part, frozen=True, kw_only=True):
    """What this node thinks of one peer."""

    peer: str
    trust_ppm: int
    """Trust in its work, in millionths; 200,000 for whoever nothing is known of."""
    vote: float
    """What this trust is worth, 0, 0.5 or 1: what this node would say as the leader of a round. What the
    roster says is in `RoundPart.votes`."""
    audit_rate: float
    """Share of its work that somebody replays, as this node draws."""
    bans: int = 0
    """How often it was banned."""
    banned_until: int | None = None
    """First round in which it is not; -1: for good; None: it is not banned."""
    vouched_by: str | None = None
    """Who answers for it while it is on probation, in place of a proof of work."""


class VoucherPart(Part, frozen=True, kw_only=True):
    """A member answers for a newcomer."""

    id: str
    """Of the record, hex."""
    newcomer: str
    by: str
    bond: int
    """Micro-credits that burn if the newcomer is found false while on probation."""
    round: int
    """In which it was given."""
    until: int
    """First round in which it holds no more."""


class ReputationPart(Part, frozen=True, kw_only=True):
    """Trust, in both directions."""

    of_me: OfMePart = OfMePart()
    table: tuple[TrustPart, ...] = ()
    vouchers: tuple[VoucherPart, ...] = ()
    """Newcomers that somebody answers for, and that have not served their probation."""


class RewardsPart(Part, frozen=True, kw_only=True):
    """The node's account, in the ledger that it keeps itself; micro-credits."""

    by_term: dict[str, int] = {}
    """Everything ever credited, by what it was for."""
    vested: int = 0
    stake: int = 0
    """Credits that have not vested yet: they burn if the node is proven guilty."""
    ownership_ppm: int = 0
    """Share of all vested credits."""
    missing_rounds: int = 0
    """Rounds whose records this node has not got: its figures leave them out, for everybody."""


class WhyPart(Part, frozen=True, kw_only=True):
    """Why a number of this node's changed."""

    round: int
    change: str
    """Credits, or trust, with a sign."""
    cause: str
    """In plain words."""
    record: str
    """Id of the record that it rests on, hex: `dhtnode why` shows it."""


class BranchPart(Part, frozen=True, kw_only=True):
    """Set while the node goes on without a quorum; healing keeps the branch with more tokens."""

    since_round: int
    reason: str
    tokens: int = 0


class StoragePart(Part, frozen=True, kw_only=True):
    """What the home holds."""

    home: str = ""
    store_bytes: int = 0
    checkpoint_bytes: int = 0
    data_bytes: int = 0
    free_bytes: int | None = None


class ShownPart(Part, frozen=True, kw_only=True):
    """What one member has shown to an outsider."""

    peer: str
    round: int | None = None
    """Number of the head that it stands on."""
    records: int = 0
    lacking_rounds: int = 0
    """Closed rounds of which others have shown a record that it has not."""
    lacking_verdicts: int = 0
    """Verdicts and cases that others have shown and it has not."""
    fault: str = ""
    """What it has shown that no honest member shows."""


class AccountPart(Part, frozen=True, kw_only=True):
    """One member's credits; micro-credits."""

    peer: str
    vested: int
    stake: int
    ownership_ppm: int


class OutsidePart(Part, frozen=True, kw_only=True):
    """What an outsider's document rests on."""

    shown: tuple[ShownPart, ...] = ()
    accounts: tuple[AccountPart, ...] = ()
    """Of all members."""
    entries_root: str = ""
    """Of the ledger's entries, hex: equal where the same records were folded."""
    unknown: tuple[str, ...] = ()
    """Fields that no outsider can know. They are null in JSON, whatever their type."""


class Status(Part, frozen=True, kw_only=True):
    """The whole document."""

    schema: int = SCHEMA
    running: bool
    """False: no node runs in the home, the rest is what it saved last."""
    saved_at_s: float
    """Unix time at which the document was made."""
    version: str
    pid: int | None = None
    uptime_s: float = 0.0
    swarm: SwarmPart
    terms: TermsPart = TermsPart()
    alias: str = ""
    """Three words that follow from the peer id, to say it by; others may have the same."""
    peer_id: str
    addresses: tuple[str, ...] = ()
    """Multiaddrs with /p2p/ at which others can dial this node."""
    peers: tuple[PeerPart, ...] = ()
    round: RoundPart = RoundPart()
    training: TrainingPart = TrainingPart()
    traffic: TrafficPart = TrafficPart()
    receipts: ReceiptsPart = ReceiptsPart()
    audits: AuditsPart = AuditsPart()
    plausibility: PlausibilityPart | None = None
    """None in a swarm whose work can be replayed."""
    reputation: ReputationPart = ReputationPart()
    rewards: RewardsPart = RewardsPart()
    why: tuple[WhyPart, ...] = ()
    """The last changes, the newest first."""
    branch: BranchPart | None = None
    rejected: dict[str, int] = {}
    """What peers sent and this node dropped, by reason."""
    rejected_by_peer: dict[str, dict[str, int]] = {}
    """The same by peer id; "" is for bytes that name no peer."""
    deadlines_s: dict[str, float] = {}
    """Learned deadline of each phase, seconds."""
    storage: StoragePart = StoragePart()
    notices: tuple[str, ...] = ()
    """What its operator should know, newest last."""
    outside: OutsidePart | None = None
    """Set where not the node but an outsider has made the document, from what members have shown."""

    def encode(self) -> bytes:
        """The document as JSON, one line."""
        return msgspec.json.encode(self)


def parse_status(data: bytes) -> Status:
    """The document in JSON bytes.

    Raises:
        ConfigError: it was written by another version of dhtnode.
    """
    try:
        status = msgspec.json.decode(data, type=Status)
        found: object = status.schema
    except msgspec.DecodeError:
        status, found = None, "an unknown one"
    if status is None or found != SCHEMA:
        raise ConfigError(
            f"the node speaks status schema {found}, this command reads {SCHEMA}; "
            "use the dhtnode that the node was started with",
            Exit.FAILED,
        )
    return status


def share_ppm(part: int, whole: int) -> int | None:
    """Millionths, rounded down; None of nothing."""
    return part * PPM // whole if whole else None


def totals(by_peer: dict[str, dict[str, int]]) -> dict[str, int]:
    """Counts by reason, over all peers."""
    by_reason: dict[str, int] = {}
    for reasons in by_peer.values():
        for reason, count in reasons.items():
            by_reason[reason] = by_reason.get(reason, 0) + count
    return dict(sorted(by_reason.items()))
