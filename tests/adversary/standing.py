"""A swarm as its reputation tables see it: rounds, audits and cases, without bytes and sockets.

Some honest members keep real tables (`validation.reputation`) and count checks as nodes do
(`validation.rates`); all others are what they do. Each round takes members' work in, audits are drawn at
the rates of those members, honest auditors say what is true, a majority upholds a `fail` on false work,
and everything is told to all tables.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from dhtnode.digest import digest
from dhtnode.manifest import AuditSection
from dhtnode.reputation import ReputationSection
from training.messages import WHOLE
from validation.doubts import MOST_HEEDED
from validation.evidence import Context, Evidence, Term
from validation.halflife import MICRO
from validation.messages import Outcome, Subject
from validation.rates import Rates
from validation.reputation import Reputation
from validation.voting import proposed

AUDITS = AuditSection()
"""The manifest's `audit.rate`, by default."""
Judged = Literal["work", "audit"]
"""What members say something about here; nobody reduces."""


@dataclass
class Player:
    """A member and how it behaves."""

    name: str
    false_work: float = 0.0
    """Share of its rounds in which its work is false."""
    auditable: bool = True
    """Whether honest members can replay its work; false for a device profile that nobody else has."""
    praises: set[str] = field(default_factory=set)
    """Whom it calls sound in every round, whatever it has done."""
    looks: bool = False
    """Whether it does again what it has drawn of those it praises: then its word is false only of what is."""
    doubts: set[str] = field(default_factory=set)
    """Whom it is unsure of in every round."""
    idle: bool = False
    """Whether it leaves the audits it has drawn undone."""
    since: int = 0
    """Round in which it comes."""
    honest_until: int = 0
    """Round up to which it does honest work, whatever it does later."""


class Gullible(Reputation):
    """A control: everybody's word counts like one's own, and a doubt like a proof."""

    def share(self, teller: str) -> int:
        return MICRO

    def pair(self, peer: str, context: Context) -> tuple[int, int]:
        account = self._accounts.get(peer)
        if account is None:
            return 0, 0
        section = self._section
        good, bad = account.own_pair(context, self.round_no)
        good += self.told(peer, context, "passed")
        doubt = self.told(peer, context, "unsure")
        if doubt:
            good = good * section.kept_percent // 100
        return good, bad + doubt * section.upheld.add_milli // section.unsure.add_milli


class GullibleRates(Rates):
    """A control: a check that somebody tells of counts like one's own."""

    def of(self, about: Subject, peer: str) -> float:
        passed = self._passed.get((about, peer), Counter()).total()
        return max(self.least(about), self._probation(about) / max(self._probation(about), 1 + passed))


class ForgivingRates(Rates):
    """A control: who was found false goes on being checked as seldom as before."""

    def doubted(self, about: Subject, peer: str) -> None:
        pass


@dataclass(frozen=True)
class Care:
    """How the members of a village make up their minds: like nodes, or like a control."""

    table: type[Reputation] = Reputation
    rates: type[Rates] = Rates
    section: ReputationSection = field(default_factory=ReputationSection)
    looks_again: bool = True
    """Whether a majority looks at what somebody doubts, so that there is an end to it."""


CAREFUL = Care()
GULLIBLE = Care(Gullible, GullibleRates, looks_again=False)


class Village:
    """Players, and tables of the first few honest ones.

    Args:
        players: everybody; the honest first.
        seed: of all chance.
        tables: how many honest members keep a real table.
        care: kinds of tables and rates, and constants.
    """

    def __init__(
        self,
        players: Iterable[Player],
        seed: int = 1,
        tables: int = 2,
        care: Care = CAREFUL,
    ) -> None:
        self.section = care.section
        self.players = {player.name: player for player in players}
        self.round_no = 0
        self.income: dict[str, float] = dict.fromkeys(self.players, 0.0)
        """Rounds of full weight, by the tables' mean opinion: 2 half votes are one."""
        self.false_taken: dict[str, float] = dict.fromkeys(self.players, 0.0)
        """The same of rounds in which the work was false."""
        self.tables = {name: care.table(self.section) for name in list(self.players)[:tables]}
        self.rates = {name: care.rates(AUDITS, name) for name in self.tables}
        self._looks_again = care.looks_again
        self._chance = random.Random(seed)  # noqa: S311
        self.looks = 0
        """Records that all members had to look at because of a doubt, by the table that heeded most."""

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            self._round()

    def votes(self, name: str) -> list[int]:
        """What each table's owner would propose for a player, in half votes."""
        tables = [table for owner, table in self.tables.items() if owner != name]
        return [proposed(0, table.opinion(name), self.section) for table in tables]

    def rate(self, about: Judged, name: str) -> float:
        """Share of a player's records that somebody checks: the mean of what each table's owner asks for."""
        rates = [rates.of(about, name) for owner, rates in self.rates.items() if owner != name]
        return sum(rates) / len(rates)

    def out(self) -> set[str]:
        """Whom at least one table has banned, or trusts less than a ban takes."""
        least = 10_000 * self.section.ban_percent
        return {
            name
            for name in self.players
            for table in self.tables.values()
            if table.bans(name)[0] > 0 or table.trust(name, "work") < least
        }

    def _round(self) -> None:
        self.round_no += 1
        for table in self.tables.values():
            table.begin(self.round_no)
        present = [player for player in self.players.values() if self._takes_part(player)]
        false = {
            player.name
            for player in present
            if self._chance.random() < player.false_work and player.honest_until < self.round_no
        }
        for player in present:
            votes = self.votes(player.name)
            weight = sum(votes) / WHOLE / len(votes)
            self.income[player.name] += weight
            if player.name in false:
                self.false_taken[player.name] += weight
            for context in ("work", "liveness"):
                self._tell(player.name, context, "accepted", "round")
        for player in present:
            self._audit(player, present, player.name in false)
        for player in present:
            self._gossip(player)

    def _takes_part(self, player: Player) -> bool:
        if player.since > self.round_no:
            return False
        banned = sum(table.bans(player.name)[1] > self.round_no for table in self.tables.values())
        return 2 * banned <= len(self.tables)

    def _audit(self, player: Player, present: list[Player], false: bool) -> None:
        for auditor in self._drawn("work", player, present):
            if auditor.idle:
                continue
            if player.name in auditor.praises:
                self._say(auditor.name, "work", player.name, "pass")
                if player.auditable:
                    self._check(auditor, present, sound=auditor.looks and not false)
            elif player.auditable:
                self._say(auditor.name, "work", player.name, "fail" if false else "pass")
                self._check(auditor, present, sound=True)
                if false:
                    self._tell(player.name, "work", "upheld", "jury")

    def _check(self, auditor: Player, present: list[Player], sound: bool) -> None:
        """Verdicts are done again, as work is."""
        for judge in self._drawn("audit", auditor, present):
            if auditor.name in judge.praises or sound:
                self._say(judge.name, "audit", auditor.name, "pass")
            else:
                self._say(judge.name, "audit", auditor.name, "fail")
                self._tell(auditor.name, "audit", "upheld", "jury")

    def _drawn(self, about: Judged, player: Player, present: list[Player]) -> list[Player]:
        """Who has to check a player's work or verdict; whoever keeps no table draws as the others do."""
        shared = self.rate(about, player.name)
        return [
            other
            for other in present
            if other is not player
            and self._chance.random() * max(1, len(present) - 1)
            < (self.rates[other.name].of(about, player.name) if other.name in self.rates else shared)
        ]

    def _gossip(self, player: Player) -> None:
        """What is said without any lot having fallen: verdicts of a clique, in every round."""
        for name in sorted(player.praises & self.players.keys()):
            self._say(player.name, "work", name, "pass", "praise")
            self._say(player.name, "audit", name, "pass", "praise")
        doubted = sorted(player.doubts & self.players.keys())
        heeding = {owner for owner, table in self.tables.items() if table.judges_well(player.name)}
        for number, name in enumerate(doubted):
            if not self._looks_again:
                self._say(player.name, "work", name, "unsure", "doubt")
            elif number < MOST_HEEDED:
                self._doubt(player.name, name, heeding)
            else:
                self._tell(name, "work", "unsure", "doubt", player.name)
        self.looks += min(MOST_HEEDED, len(doubted)) if heeding else 0

    def _doubt(self, teller: str, peer: str, heeding: Collection[str]) -> None:
        """All look at work that is sound, and find it so: most members are honest."""
        self._tell(peer, "work", "unsure", "doubt", teller)
        for owner, rates in self.rates.items():
            if owner in heeding:
                rates.doubted("work", peer)
                rates.cleared("work", peer)
        if heeding:
            self._tell(teller, "audit", "refuted", f"doubt of {peer}")

    def _say(self, teller: str, about: Judged, peer: str, outcome: Outcome, what: str = "audit") -> None:
        """A verdict, taken in as `validation.validator` does it."""
        for rates in self.rates.values():
            if outcome == "pass":
                rates.passed(about, peer, teller)
            else:
                rates.doubted(about, peer)
        if outcome != "fail":
            self._tell(peer, about, "passed" if outcome == "pass" else "unsure", what, teller)

    def _tell(self, peer: str, context: Context, term: Term, what: str, teller: str = "") -> None:
        about = digest("about", peer, self.round_no, what)
        for name, table in self.tables.items():
            table.add(
                Evidence(peer, context, term, self.round_no, about, about, "" if teller == name else teller)
            )


def honest(count: int) -> list[Player]:
    return [Player(f"honest-{number:02}") for number in range(count)]


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:03}" for number in range(count)]
