"""A swarm as its reputation tables see it: rounds, audits and cases, without bytes and sockets.

Some honest members keep real tables (`validation.reputation`); all others are what they do. Each round
takes members' work in, audits are drawn at the rate that the tables ask for, honest auditors say what
is true, a majority upholds a `fail` on false work, and everything is told to all tables.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from dhtnode.digest import digest
from dhtnode.reputation import ReputationSection
from training.messages import WHOLE
from validation.evidence import Context, Evidence, Term
from validation.halflife import MICRO
from validation.reputation import Reputation
from validation.voting import proposed

LEAST = MICRO // 16


@dataclass
class Player:
    """A member and how it behaves."""

    name: str
    false_work: float = 0.0
    """Share of its rounds in which its work is false."""
    auditable: bool = True
    """Whether honest members can replay its work; false for a device profile that nobody else has."""
    praises: set[str] = field(default_factory=set)
    """Whom it calls sound in every round, without having looked."""
    doubts: set[str] = field(default_factory=set)
    """Whom it is unsure of, and accuses, in every round."""
    idle: bool = False
    """Whether it leaves the audits it has drawn undone."""
    false_audits: float = 0.0
    """Share of its verdicts on others that it has not worked for."""
    since: int = 0
    """Round in which it comes."""
    honest_until: int = 0
    """Round up to which it does honest work, whatever it does later."""


class Gullible(Reputation):
    """The control: everybody's word counts like one's own, and an accusation like a proof."""

    def share(self, teller: str) -> int:
        return MICRO

    def pair(self, peer: str, context: Context) -> tuple[int, int]:
        account = self._accounts.get(peer)
        if account is None:
            return 0, 0
        good, bad = account.own_pair(context, self.round_no)
        bad += self.told(peer, context, "unsure") + 20 * self.told(peer, context, "accused")
        return good + self.told(peer, context, "passed"), bad


class Village:
    """Players, and tables of the first few honest ones.

    Args:
        players: everybody; the honest first.
        seed: of all chance.
        tables: how many honest members keep a real table.
        make: the kind of table.
        section: constants.
    """

    def __init__(
        self,
        players: Iterable[Player],
        seed: int = 1,
        tables: int = 2,
        make: type[Reputation] = Reputation,
        section: ReputationSection | None = None,
    ) -> None:
        self.section = section or ReputationSection()
        self.players = {player.name: player for player in players}
        self.round_no = 0
        self.income: dict[str, float] = dict.fromkeys(self.players, 0.0)
        """Rounds of full weight, by the tables' mean opinion: 2 half votes are one."""
        self.false_taken: dict[str, float] = dict.fromkeys(self.players, 0.0)
        """The same of rounds in which the work was false."""
        self.tables = {name: make(self.section) for name in list(self.players)[:tables]}
        self._chance = random.Random(seed)  # noqa: S311

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            self._round()

    def votes(self, name: str) -> list[int]:
        """What each table's owner would propose for a player, in half votes."""
        tables = [table for owner, table in self.tables.items() if owner != name]
        return [proposed(0, table.opinion(name), self.section) for table in tables]

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
        rates = [table.audit_rate(player.name, LEAST) for table in self.tables.values()]
        rate = sum(rates) / len(rates) / MICRO / max(1, len(present) - 1)
        for auditor in present:
            if auditor is player or auditor.idle or self._chance.random() >= rate:
                continue
            if player.name in auditor.praises:
                self._tell(player.name, "work", "passed", "audit", auditor.name)
                if player.auditable:
                    self._check(auditor, present, sound=False)
            elif player.auditable:
                self._tell(player.name, "work", "accused" if false else "passed", "audit", auditor.name)
                self._check(auditor, present, sound=self._chance.random() >= auditor.false_audits)
                if false:
                    self._tell(player.name, "work", "upheld", "jury")

    def _check(self, auditor: Player, present: list[Player], sound: bool) -> None:
        """Verdicts are done again, as work is: by somebody, in one of sixteen."""
        for judge in present:
            if judge is auditor or self._chance.random() * 16 * (len(present) - 1) >= 1:
                continue
            if auditor.name in judge.praises or sound:
                self._tell(auditor.name, "audit", "passed", "audit", judge.name)
            else:
                self._tell(auditor.name, "audit", "upheld", "jury")

    def _gossip(self, player: Player) -> None:
        """What is said without any lot having fallen: verdicts of a clique, in every round."""
        for name in sorted(player.praises & self.players.keys()):
            self._tell(name, "work", "passed", "praise", player.name)
            self._tell(name, "audit", "passed", "praise", player.name)
        for name in sorted(player.doubts & self.players.keys()):
            self._tell(name, "work", "unsure", "doubt", player.name)
            self._tell(name, "work", "accused", "doubt", player.name)

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
