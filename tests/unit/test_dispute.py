"""A quarrel about one segment: what is opened is what was committed to, and whoever is false is guilty."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.identity import Identity
from dhtnode.manifest import AuditSection, DataSection, Terms
from dhtnode.records import Signed, canonical
from tests.unit.parties import SWARM, commit, terms
from tests.unit.test_cases import (
    BEFORE,
    FAILS,
    JUDGES,
    OTHERS,
    PASSES,
    WORK,
    WORKER,
    docket,
    on_part,
    opening,
    trial_after,
    verdict,
)
from training.segments import seal_all, segments_root
from validation.cases import open_case
from validation.dispute import accusation, check_seals, has_sealed, is_named
from validation.messages import UNSEALED, Verdict
from validation.reopening import open_wanted, wanted


def naming(judge: Identity, segment: int, **changes: Any) -> Signed[Verdict]:
    """A `fail` that names a segment."""
    return verdict(judge, **{"segment": segment, "replayed": digest("end", judge.peer_id), **changes})


def cut(segment: int) -> Terms:
    """Runs of 10 steps in segments."""
    shared = DataSection(mode="shared", digest="0" * 64)
    return msgspec.structs.replace(terms(), data=shared, audit=AuditSection(segment=segment))


def test_fails_count_together_whatever_segment_they_name() -> None:
    [case] = trial_after(naming(JUDGES[0], 1), naming(JUDGES[1], 0), FAILS[2]).cases()
    assert (case.charge, case.guilty) == ("work", WORKER.peer_id)
    assert open_case(case.wire, SWARM) == case


def test_who_names_a_segment_of_sound_work_is_an_accuser() -> None:
    [case] = trial_after(naming(JUDGES[0], 1), *PASSES[1:]).cases()
    assert (case.charge, case.guilty) == ("accusation", JUDGES[0].peer_id)


@pytest.mark.parametrize(
    "bad",
    [
        naming(JUDGES[0], 1, outcome="pass"),
        naming(JUDGES[0], 1, device="cpu/other", distance=5),
        on_part(OTHERS[0], segment=1),
    ],
    ids=["sound", "distance", "reduction"],
)
def test_only_false_work_of_the_same_device_has_a_false_segment(bad: Signed[Verdict]) -> None:
    with pytest.raises(RemoteProtocolError, match="names a segment of what has none"):
        docket().add(bad)


def test_jurors_go_by_an_accusation_that_names_a_segment_which_there_is() -> None:
    one, beyond = naming(JUDGES[0], 1), naming(JUDGES[2], 4)
    assert accusation(trial_after(one), cut(3)) == one
    assert accusation(trial_after(beyond, one), cut(3)) == one
    assert accusation(trial_after(FAILS[0]), cut(3)) is None
    assert accusation(trial_after(beyond), cut(3)) is None
    assert accusation(trial_after(one), cut(0)) is None
    assert is_named(trial_after(one), 1)
    assert not is_named(trial_after(one), 0)


def test_a_list_of_boundaries_is_the_one_that_was_committed_to() -> None:
    seals = seal_all(WORKER.peer_id, BEFORE.id, [digest("boundary", number) for number in range(3)])
    work = commit(WORKER, BEFORE, segments=segments_root(seals))
    check_seals(work, seals, cut(3))
    assert has_sealed(work, seals, 1, digest("boundary", 1))
    assert not has_sealed(work, seals, 1, digest("boundary", 2))
    for other in (seals[:2], (*seals, seals[0]), (seals[1], seals[0], seals[2]), ()):
        with pytest.raises(RemoteProtocolError, match="not those it committed to"):
            check_seals(work, other, cut(3))
    with pytest.raises(RemoteProtocolError, match="not those it committed to"):
        check_seals(work, seals, cut(2))


def test_who_asks_for_boundaries_is_bound_to_nothing_and_must_be_of_the_round() -> None:
    held = docket()
    assert held.heard(opening(JUDGES[0], UNSEALED)) is not None
    held.add(FAILS[0])
    with pytest.raises(RemoteProtocolError, match="opens no link"):
        held.heard(opening(JUDGES[0], UNSEALED, preimage=digest("guess")))


def test_a_question_for_boundaries_is_checked_from_itself() -> None:
    asked, said, judge = opening(JUDGES[0], UNSEALED), naming(JUDGES[1], 1), JUDGES[0].peer_id
    assert open_wanted(wanted(asked, None), SWARM, judge) == (asked, None)
    assert open_wanted(wanted(asked, said), SWARM, judge) == (asked, said)
    for bad, sender in [
        (wanted(asked, said), JUDGES[1].peer_id),
        (wanted(asked, FAILS[1]), judge),
        (wanted(asked, naming(JUDGES[1], 1, target=WORK[1].id)), judge),
        (canonical({"opening": asked.wire}), judge),
        (b"junk", judge),
    ]:
        with pytest.raises(RemoteProtocolError) as caught:
            open_wanted(bad, SWARM, sender)
        assert caught.value.peer == sender
