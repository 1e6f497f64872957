"""Who was drawn and did not judge: the same on every node, seen once its preimage is out."""

from __future__ import annotations

from dhtnode.digest import digest
from dhtnode.identity import Identity
from dhtnode.manifest import AuditSection
from tests.unit.parties import CHUNKS, SWARM, certified, commit, head_of, people, person
from tests.unit.test_cases import verdict
from training.chain import Certificate
from training.events import Adopt
from training.messages import Commitment, Head
from validation.docket import Docket, Trial
from validation.duties import ROUNDS_KEPT, Duties
from validation.lottery import EPOCH, Chain
from validation.rates import Rates

PEOPLE = people(3)
IDLE, EAGER, ALWAYS = PEOPLE
"""One that never judges, one that does, and a rate at which everybody always has to."""
RATE = 1.0


class Played:
    """Rounds that close one after the other, with nobody's verdicts but those that a test adds."""

    def __init__(self, device: str = "cpu/unit") -> None:
        self.docket, self.duties = Docket(), Duties(Rates(AuditSection(rate=RATE), person(9).peer_id))
        self.before: Head = head_of(PEOPLE)
        self.device = device
        self.trials: list[list[Trial]] = []

    def close(self, *, without: Identity | None = None, made_up: bool = False) -> Certificate:
        """A round ends.

        Args:
            without: who takes no part.
            made_up: whether the idle one shows a link that is not of its chain.
        """
        work = [
            commit(
                someone,
                self.before,
                round=self.before.number,
                link=digest("made up", self.before.number)
                if made_up and someone is IDLE
                else Chain(someone, SWARM).link(self.before.number),
                device=self.device if someone is IDLE else "cpu/unit",
            )
            for someone in PEOPLE
            if someone is not without
        ]
        head = head_of(
            PEOPLE,
            number=self.before.number + 1,
            parent=self.before.id,
            accepted=tuple(one.id for one in work),
        )
        certificate = certified(PEOPLE, head)
        trials = self.docket.open(Adopt(certificate, tuple(work)), CHUNKS)
        self.duties.closed(certificate.id, head.parent, trials)
        self.trials.append(trials)
        self.before = head
        return certificate

    def judge(self, judge: Identity, round_: int) -> None:
        """Say `pass` of all others' work of a round."""
        for trial in self.trials[round_]:
            body = trial.target.body
            if trial.target.signer != judge.peer_id and isinstance(body, Commitment):
                self.docket.add(
                    verdict(
                        judge,
                        "pass",
                        round=body.round,
                        base=trial.certificate.id,
                        target=trial.target.id,
                        worker=trial.target.signer,
                        preimage=Chain(judge, SWARM).preimage(body.round),
                    )
                )


def drawn_in_each_round(played: Played) -> int:
    return played.duties.skipped.total() + played.duties.kept.total()


def test_what_was_drawn_is_counted_once_the_round_is_forgotten() -> None:
    played = Played()
    for round_ in range(4 * ROUNDS_KEPT):
        played.close()
        played.judge(EAGER, round_)
        played.judge(ALWAYS, round_)
    duties = played.duties
    assert duties.skipped[IDLE.peer_id] > 0
    assert duties.kept[IDLE.peer_id] == 0
    for diligent in (EAGER, ALWAYS):
        assert duties.kept[diligent.peer_id] > 0
        assert duties.skipped[diligent.peer_id] == 0


def test_nothing_is_counted_before_a_verdict_could_have_come() -> None:
    played = Played()
    for _ in range(ROUNDS_KEPT):
        played.close()
    assert drawn_in_each_round(played) == 0


def test_who_misses_a_round_is_drawn_for_by_the_link_it_shows_when_it_is_back() -> None:
    played = Played()
    played.close()
    played.close(without=IDLE)
    for _ in range(2 * ROUNDS_KEPT):
        played.close(without=IDLE if len(played.trials) % 2 else None)
    assert played.duties.skipped[IDLE.peer_id] > 0


def test_who_makes_links_up_is_counted_in_every_round_that_it_hides() -> None:
    played = Played()
    for _ in range(5):
        played.close(made_up=True)
    assert played.duties.skipped[IDLE.peer_id] == 4
    assert played.duties.skipped[EAGER.peer_id] == 0


def test_nothing_is_hidden_between_two_chains() -> None:
    played = Played()
    played.before = head_of(PEOPLE, number=EPOCH - 1)
    for _ in range(3):
        played.close()
    assert drawn_in_each_round(played) == 0


def test_nobody_has_to_judge_what_its_device_can_not_tell() -> None:
    played = Played(device="cuda/other")
    for _ in range(4 * ROUNDS_KEPT):
        played.close()
    assert played.duties.skipped[IDLE.peer_id] == 0
    assert played.duties.skipped[EAGER.peer_id] > 0
