"""What of a manifest can change while its swarm runs, and by which terms a round of a chain is played."""

from __future__ import annotations

import msgspec
import pytest

from dhtnode.amendments import (
    AMENDABLE,
    MAX_AMENDMENTS,
    MAX_CHANGES,
    Amendment,
    Setting,
    amend,
    changes_fault,
)
from dhtnode.digest import digest
from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import OuterSection, terms_digest
from dhtnode.records import Body, Signed, open_record, sign
from dhtnode.reward import RewardSection
from tests.unit.parties import SWARM, person, terms
from training.in_force import TermsInForce

TERMS = msgspec.structs.replace(terms(), outer=OuterSection(), reward=RewardSection(epoch_rounds=4))
TABLE = msgspec.to_builtins(TERMS)


def setting(key: str, value: str) -> Setting:
    return Setting(key=key, value=value)


def amendment(*changes: tuple[str, str], effect: int = 20, who: int = 0) -> Signed[Amendment]:
    typed = tuple(setting(key, value) for key, value in changes or (("outer.lr", "0.35"),))
    return sign(person(who), SWARM, Amendment(round=3, effect=effect, changes=typed, why="it diverges"))


# What may be in one


def test_everything_that_can_be_amended_is_in_the_manifest() -> None:
    for section, keys in AMENDABLE.items():
        assert set(keys) <= set(TABLE[section])


@pytest.mark.parametrize("key", ["data.mode", "data.digest", "task.options", "task.kind"])
def test_what_makes_the_swarm_what_it_is_is_refused_by_all(key: str) -> None:
    assert changes_fault([setting(key, "1")]) == f"{key} can't be changed: it makes the swarm what it is"
    with pytest.raises(ValueError, match=key):
        amend(TERMS, [setting(key, "1")])


@pytest.mark.parametrize(
    "key",
    [
        *("outer.size", "nothing.at", "reward.tips_micro", "wire.codec", "wire.chunk_elems"),
        *(
            "inner.optimizer",
            "inner.moments",
            "reward.epoch_rounds",
            "reward.vesting_rounds",
            "round.min_peers",
        ),
        *("reward.export_keys", "network.bootstrap", "reputation.passed"),
    ],
)
def test_what_this_version_can_not_change_is_no_offence_but_can_not_be_applied(key: str) -> None:
    """A newer version may be able to."""
    assert changes_fault([setting(key, "1")]) is None
    with pytest.raises(ValueError, match="no key that this dhtnode can change"):
        amend(TERMS, [setting(key, "1")])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([("outer.lr.deep", "1")], "outer.lr.deep is no key"),
        ([("inner.options", "{}")], "inner.options is no key"),
        ([("outer.lr", "fast")], "outer.lr: "),
        ([("outer.lr", "-1")], "outer.lr"),
        ([("outer.lr", '"0.5"')], "outer.lr"),
        ([("outer.lr", "0.5"), ("outer.lr", "0.6")], "twice"),
        ([("outer.momentum", "0.0")], "another shape"),
        ([("audit.rate", "0.015625")], "does not deter"),
        ([("inner.options.lr", "1e400")], "inner.options"),
        ([("inner.options.amsgrad", "true")], "only numbers"),
        ([("inner.options.lr", "true")], "only numbers"),
        ([("inner.steps", "[[3, 10]]")], "inner.steps must begin at round 0"),
    ],
)
def test_what_makes_no_valid_manifest_is_refused(changes: list[tuple[str, str]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        amend(TERMS, [setting(key, value) for key, value in changes])


def test_several_constants_change_together() -> None:
    amended = amend(TERMS, [setting("audit.rate", "0.125"), setting("inner.options.lr", "0.01")])
    assert (amended.audit.rate, amended.inner.options["lr"]) == (1 / 8, 0.01)
    assert terms_digest(amended) != terms_digest(TERMS)
    back = amend(amended, [setting("audit.rate", "0.0625"), setting("inner.options.lr", "0.003")])
    assert terms_digest(back) == terms_digest(TERMS)


def test_the_records_travel() -> None:
    kinds: dict[str, type[Body]] = {Amendment.KIND: Amendment}
    largest = [(f"inner.options.{'a' * n}", "1" * 160) for n in range(40, 40 + MAX_CHANGES)]
    for record in (amendment(), amendment(*largest)):
        assert open_record(record.wire, SWARM, kinds).id == record.id
    bad = msgspec.structs.replace(amendment().body, changes=())
    with pytest.raises(RemoteProtocolError, match="schema"):
        open_record(sign(person(0), SWARM, bad).wire, SWARM, kinds)


# By which terms a round is played


def in_force(*known: Signed[Amendment]) -> TermsInForce:
    found = TermsInForce(TERMS)
    for one in known:
        found.learn(one)
    return found


def test_an_amendment_holds_from_its_round_on() -> None:
    one, other = amendment(effect=20), amendment(("outer.lr", "0.1"), ("audit.segment", "8"), effect=30)
    held = in_force(one, other)
    assert held.stand_on([other.id, one.id], 25) is None
    rates = {round_no: held.at(round_no).outer.lr for round_no in (0, 19, 20, 29, 30, 99)}
    assert rates == {0: 0.7, 19: 0.7, 20: 0.35, 29: 0.35, 30: 0.1, 99: 0.1}
    assert (held.now.outer.lr, held.since) == (0.35, 20)
    assert held.at(30).audit.segment == 8


def test_of_two_for_one_round_the_one_adopted_later_has_the_last_word() -> None:
    one, other = amendment(effect=20), amendment(("outer.lr", "0.1"), effect=20)
    for ids in ([one.id, other.id], [other.id, one.id]):
        held = in_force(one, other)
        assert held.stand_on(ids, 20) is None
        assert held.now.outer.lr == (0.1 if ids[-1] == other.id else 0.35)


def test_another_chain_has_other_terms() -> None:
    held = in_force(amendment())
    assert held.stand_on([amendment().id], 20) is None
    assert held.now.outer.lr == 0.35
    assert held.stand_on([], 21) is None
    assert (held.now, held.since) == (TERMS, 0)


def test_what_can_not_be_applied_is_said_in_one_line_and_not_before_its_round() -> None:
    newer = amendment(("outer.size", "1"), effect=20)
    held = in_force(newer)
    assert held.stand_on([newer.id], 19) is None
    fault = held.stand_on([newer.id], 20)
    assert fault == f"amendment {newer.id.hex()[:12]}: outer.size is no key that this dhtnode can change"
    assert held.fault([newer.id]) == fault


def test_a_round_adopts_only_what_is_known_in_time_and_once() -> None:
    one, other = amendment(effect=20), amendment(effect=21, who=1)
    held = in_force(one, other)
    assert held.may_adopt([], [], 20)
    assert held.may_adopt([], [one.id], 16)
    assert not held.may_adopt([], [one.id], 17), "no whole epoch of four rounds is left"
    assert held.may_adopt([one.id], [one.id], 30), "it is adopted, whatever the round"
    assert held.may_adopt([one.id], [one.id, other.id], 17)
    assert not held.may_adopt([one.id], [other.id], 10), "what was adopted stays so"
    assert not held.may_adopt([one.id], [one.id, one.id], 10)
    assert not held.may_adopt([], [digest("unheard of")], 10)
    full = [digest("earlier", number) for number in range(MAX_AMENDMENTS)]
    assert not held.may_adopt(full, [*full, one.id], 10)


def test_amendments_that_do_not_go_together_are_not_adopted_together() -> None:
    apart = amendment(("reward.rarity_least_ppm", "3000000"), effect=20)
    below = amendment(("reward.rarity_most_ppm", "2000000"), effect=30)
    held = in_force(apart, below)
    assert held.fault([apart.id]) is held.fault([below.id]) is None
    assert "rarity" in (held.fault([apart.id, below.id]) or "")
