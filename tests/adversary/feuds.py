"""Attacks on reputation, by name: each as one run that gives its figures, with or without the defence.

`test_feuds.py` holds them against their bounds, `scripts/bench-reputation` prints them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import msgspec

from dhtnode.records import sign
from dhtnode.reputation import ReputationSection, TermSection
from tests.adversary.standing import CAREFUL, Care, ForgivingRates, Player, Village, honest, names
from tests.unit.parties import SWARM, people
from training.messages import WHOLE
from validation.account import JUDGED
from validation.entry import Gate
from validation.halflife import MICRO
from validation.voting import acceptable_votes, proposed_votes
from validation.voucher import NoBacking, Voucher, Vouchers

HONEST, CLIQUE = 12, 8
"""40 % of 20."""


@dataclass(frozen=True)
class Outcome:
    """What an attack has come to."""

    honest_out: int
    """Honest members that somebody has banned or trusts no more."""
    lowest_honest_trust: float
    honest_vote: float
    """Mean vote of the honest at the end, 0 to 1."""
    honest_rate: float
    """Mean share of their rounds that are replayed at the end."""
    attackers_out: int
    attackers_vote: float
    """Mean vote of those that are not out, 0 to 1, at the end."""
    false_taken: float
    """Rounds of full weight that an attacker's false work was taken in for, mean."""


def outcome(village: Village, attackers: list[str]) -> Outcome:
    out = village.out()
    good = [name for name in village.players if name.startswith("honest")]
    good_votes = [vote / WHOLE for name in good for vote in village.votes(name)]
    votes = [vote / WHOLE for name in attackers if name not in out for vote in village.votes(name)]
    trusts = [
        table.trust(name, "work") / MICRO
        for name in good
        for owner, table in village.tables.items()
        if owner != name
    ]
    return Outcome(
        len(out & set(good)),
        min(trusts),
        sum(good_votes) / len(good_votes),
        sum(village.rate("work", name) for name in good) / len(good),
        len(out & set(attackers)),
        sum(votes) / len(votes) if votes else 0.0,
        sum(village.false_taken[name] for name in attackers) / max(1, len(attackers)),
    )


@dataclass(frozen=True)
class Peace:
    """What honest members think of each other."""

    honest_out: int
    votes: float
    """Mean vote, 0 to 1."""
    audit_rate: float
    """Mean share of a member's rounds that are replayed."""


def peace(members: int = 16, rounds: int = 300) -> Peace:
    """Nobody attacks."""
    village = Village(honest(members))
    village.run(rounds)
    votes = [vote / WHOLE for name in village.players for vote in village.votes(name)]
    rates = [village.rate("work", name) for name in village.players]
    return Peace(len(village.out()), sum(votes) / len(votes), sum(rates) / len(rates))


@dataclass(frozen=True)
class Consent:
    """How honest members come to one vote for all."""

    changed: int
    """Rounds that changed somebody's vote."""
    lost: int
    """Rounds whose first leader proposed votes that most electors refused: a view is lost."""
    without: int
    """Members that have no vote at the end."""


def consent(members: int = 16, rounds: int = 120, seed: int = 1) -> Consent:
    """Nobody attacks; some nine members lead in turn, propose what they think, and vote."""
    village = Village(honest(members), seed, tables=9)
    peers, owners, chance = list(village.players), list(village.tables), random.Random(seed)  # noqa: S311
    votes: tuple[int, ...] = (0,) * members
    changed = lost = 0
    for _ in range(rounds):
        village.run(1)
        leader = village.tables[chance.choice(owners)]
        wanted = proposed_votes(peers, votes, leader.opinion, village.section)
        if wanted == votes:
            continue
        in_favour = sum(
            acceptable_votes(peers, wanted, votes, village.tables[owner].opinion, village.section)
            for owner in owners
        )
        if 2 * in_favour > len(owners):
            votes, changed = wanted, changed + 1
        else:
            lost += 1
    return Consent(changed, lost, votes.count(0))


def badmouthing(care: Care = CAREFUL, rounds: int = 200, seed: int = 1) -> Outcome:
    """Members that work and audit honestly, and say nothing good of anybody honest, in every round."""
    good, bad = honest(HONEST), names("clique", CLIQUE)
    targets = {player.name for player in good}
    village = Village([*good, *(Player(name, doubts=targets) for name in bad)], seed, care=care)
    village.run(rounds)
    return outcome(village, bad)


def ballot_stuffing(
    care: Care = CAREFUL, rounds: int = 200, seed: int = 1, looks: bool = False, praise: bool = True
) -> Outcome:
    """Members that praise each other in every round, and cheat in every fifth after 45 good ones.

    Args:
        care: of the honest.
        rounds: of the run.
        seed: of all chance.
        looks: whether they audit each other's work as they should while it is good.
        praise: whether they do praise each other; without it they are cheats like others.
    """
    bad = names("clique", CLIQUE)
    clique = [
        Player(name, 0.2, praises=set(bad) - {name} if praise else set(), looks=looks, honest_until=45)
        for name in bad
    ]
    village = Village([*honest(HONEST), *clique], seed, care=care)
    village.run(rounds)
    return outcome(village, bad)


def self_audit_ring(care: Care = CAREFUL, rounds: int = 200, seed: int = 1) -> Outcome:
    """Members whose work nobody else can replay, and who find each other's work and verdicts sound."""
    bad = names("ring", CLIQUE)
    ring = [
        Player(name, false_work=1.0, auditable=False, praises=set(bad) - {name}, idle=True) for name in bad
    ]
    village = Village([*honest(HONEST), *ring], seed, care=care)
    village.run(rounds)
    return outcome(village, bad)


@dataclass(frozen=True)
class Flood:
    """What ten made-up keys to each honest member have come to."""

    honest_out: int
    influence: float
    """What the Sybils have gained by others' word (r, in work and audit), over what the members that vouch
    for them have earned; the largest in any round and table."""
    gained: float
    """The same for one Sybil at the end, in passed audits."""
    sybils_vote: float
    """Mean vote of a Sybil at the end, 0 to 1."""


def sybil_flood(care: Care = CAREFUL, rounds: int = 120, seed: int = 1) -> Flood:
    """Keys without work that anybody could replay; three members with a good name praise them all."""
    sybils = names("sybil", 100)
    edges = [Player(name, praises=set(sybils)) for name in names("edge", 3)]
    crowd = [Player(name, auditable=False, idle=True, since=20) for name in sybils]
    village = Village([*honest(10), *edges, *crowd], seed, care=care)
    worst = gained = 0.0
    for _ in range(rounds):
        village.run(1)
        for table in village.tables.values():
            gained = sum(table.told(name, context, "passed") for name in sybils for context in JUDGED)
            earned = sum(table.earned(edge.name) for edge in edges)
            if earned:
                worst = max(worst, gained / earned)
    votes = [vote / WHOLE for name in sybils for vote in village.votes(name)]
    good = {name for name in village.players if name.startswith("honest")}
    return Flood(len(village.out() & good), worst, gained / len(sybils) / MICRO, sum(votes) / len(votes))


@dataclass(frozen=True)
class Return:
    """What a new name costs."""

    rounds_lost: float
    """Rounds of full weight that a member with an old name would have had more."""


def whitewasher(probation_rounds: int = 45, rounds: int = 150, seed: int = 1) -> Return:
    """A key that was false comes back under a new name and behaves; honest old members are the measure."""
    section = msgspec.structs.replace(ReputationSection(), probation_rounds=probation_rounds)
    village = Village([*honest(6), Player("newcomer", since=101)], seed, care=Care(section=section))
    village.run(100)
    old = [player.name for player in honest(6)]
    before = sum(village.income[name] for name in old)
    village.run(rounds)
    gained = (sum(village.income[name] for name in old) - before) / len(old)
    return Return(gained - village.income["newcomer"])


FORGIVING = Care(
    rates=ForgivingRates,
    section=ReputationSection(
        kept_percent=100,
        upheld=TermSection(add_milli=2001, most_milli=80_000, half_life_rounds=50, sign=-1),
    ),
)
"""The control: a fault weighs as much as two honest rounds, is forgotten soon, and nobody looks closer."""


@dataclass(frozen=True)
class OnOff:
    """What being good for long, then bad, is worth."""

    false_taken: float
    """Rounds of full weight in which false work was taken in, mean."""
    bans: float
    income: float
    """Rounds of full weight after the first 150; false ones among them."""
    honest_out: int


def on_off_cheat(care: Care = CAREFUL, rounds: int = 200, seed: int = 1) -> OnOff:
    """Good for 150 rounds, then false in every third round."""
    bad = names("cheat", 4)
    cheats = [Player(name, false_work=1 / 3, honest_until=150) for name in bad]
    village = Village([*honest(HONEST), *cheats], seed, care=care)
    village.run(150)
    before = sum(village.income[name] for name in bad)
    village.run(rounds)
    bans = [table.bans(name)[0] for table in village.tables.values() for name in bad]
    good = {name for name in village.players if name.startswith("honest")}
    return OnOff(
        sum(village.false_taken[name] for name in bad) / len(bad),
        sum(bans) / len(bans),
        (sum(village.income[name] for name in bad) - before) / len(bad),
        len(village.out() & good),
    )


@dataclass(frozen=True)
class Vouched:
    """What a member gets in by answering for it."""

    entered: int
    bond_lost_micro: int


class RichMember(NoBacking):
    """The ledger of a swarm whose members all have a whole vote, and more at stake than they could pledge."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.served: set[str] = set()

    def had_full_vote(self, member: str, round_no: int) -> bool:
        return True

    def has_lost(self, member: str) -> bool:
        return member in self.lost

    def has_served(self, newcomer: str) -> bool:
        return newcomer in self.served


def voucher_abuse(tells: bool = True, tries: int = 50) -> Vouched:
    """A member answers for one key after the other; each is false at once.

    Args:
        tells: whether the gate hears of it; the control does not.
        tries: keys.
    """
    section = ReputationSection()
    member, *sybils = people(tries + 1)
    gate, ledger = Gate(section.entry_bits), RichMember()
    vouchers = Vouchers(gate, section, ledger, lambda _: False)
    entered = lost = 0
    for number, sybil in enumerate(sybils):
        vouchers.begin(number, 0)
        voucher = Voucher(round=number, newcomer=sybil.peer_id, bond_micro=section.voucher_micro)
        vouchers.take(sign(member, SWARM, voucher), 0)
        if not gate.may_enter(sybil.peer_id):
            continue
        entered += 1
        if tells:
            vouchers.convicted(sybil.peer_id)
            ledger.lost.add(member.peer_id)
            lost += voucher.bond_micro
        else:
            ledger.served.add(sybil.peer_id)
    return Vouched(entered, lost)
