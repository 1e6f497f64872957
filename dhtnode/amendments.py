"""How the constants of a running swarm change: an amendment, and what may be in it.

The manifest never changes, its digest is the swarm's name. What its members agree on later is an
amendment to it: a signed record with new values for some keys, and the round from which on they hold. This
file says which keys those can be, and makes the amended terms; who is for it is `rewards.governance`, and how
all nodes move in the same round is `training.in_force`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec

from dhtnode.errors import ConfigError
from dhtnode.manifest import Terms, check_terms, plain_error
from dhtnode.records import Body, Count

MAX_CHANGES = 16
MAX_AMENDMENTS = 64
"""In a swarm's whole life: a head names them all. A guess."""

AMENDABLE: dict[str, tuple[str, ...]] = {
    "inner": ("steps", "batch_size", "options", "clip_norm", "warmup_steps", "round_warmup", "final_lr"),
    "outer": ("lr", "momentum"),
    "round": ("rounds", "slack", "min_deadline_s", "stall_s"),
    "audit": ("rate", "segment"),
    "reputation": ("half_vote_percent", "full_vote_percent", "margin_percent", "probation_rounds"),
    "reward": (
        "compute_micro",
        "data_micro",
        "audit_micro",
        "reduce_micro",
        "rarity_least_ppm",
        "rarity_most_ppm",
        "data_cap_ppm",
        "uptime_bonus_ppm",
        "audit_cap_ppm",
        "vote_cap_ppm",
    ),
}
"""All that can change while a swarm runs. Nothing that gives a state or an update another shape, that makes
the swarm another one (task, data, seed), or by which books of past rounds were kept (epochs, vesting)."""

FIXED = ("task", "data")
"""Sections that make the swarm this swarm and no other: no version changes them."""

Key = Annotated[str, msgspec.Meta(pattern=r"^[a-z_]+\.[a-z_]+(\.[A-Za-z_]+)?$", max_length=80)]
Value = Annotated[str, msgspec.Meta(min_length=1, max_length=160)]


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One key of the manifest."""

    key: Key
    """`section.key`, or `inner.options.key`."""
    value: Value
    """The new value as JSON: signed records hold no floats."""


class Amendment(Body, frozen=True, kw_only=True):
    """A member proposes other constants."""

    KIND: ClassVar[str] = "amendment"
    MAX_BYTES: ClassVar[int] = 6 * 1024
    round: Count
    """In which it is proposed, by its signer's word."""
    effect: Count
    """The first round that is played under the new constants."""
    changes: Annotated[tuple[Setting, ...], msgspec.Meta(min_length=1, max_length=MAX_CHANGES)]
    why: Annotated[str, msgspec.Meta(max_length=280)]
    """For the others, in the proposer's words."""


def changes_fault(changes: Iterable[Setting]) -> str | None:
    """Why no version of dhtnode can take these changes in, or None: what all nodes judge alike.

    A key that this version can't change may be one that a newer version can.
    """
    named: set[str] = set()
    for change in changes:
        if change.key.split(".")[0] in FIXED:
            return f"{change.key} can't be changed: it makes the swarm what it is"
        if change.key in named:
            return f"{change.key} is named twice"
        named.add(change.key)
        try:
            msgspec.json.decode(change.value)
        except msgspec.DecodeError as error:
            return f"{change.key}: {error}"
    return None


def amend(terms: Terms, changes: Iterable[Setting]) -> Terms:
    """The terms with some constants changed, checked as a manifest is.

    Raises:
        ValueError: a key that can't be changed or that this version does not know, or a value that is wrong.
    """
    changes = tuple(changes)
    fault = changes_fault(changes)
    if fault:
        raise ValueError(fault)
    table = msgspec.to_builtins(terms)
    for change in changes:
        section, key, *option = change.key.split(".")
        if key not in AMENDABLE.get(section, ()) or (key == "options") != bool(option):
            raise ValueError(f"{change.key} is no key that this dhtnode can change")
        place, last = (table[section][key], option[0]) if option else (table[section], key)
        place[last] = _value(change, place.get(last) if option else None, is_option=bool(option))
    try:
        amended = msgspec.convert(table, Terms, strict=True)
        check_terms(amended, "the amended manifest")
    except msgspec.ValidationError as error:
        raise ValueError(plain_error(error)) from error
    except ConfigError as error:
        raise ValueError(str(error)) from error
    if (amended.outer.momentum > 0) != (terms.outer.momentum > 0):
        raise ValueError("outer.momentum can't become 0, nor cease to be: the state would have another shape")
    return amended


def _value(change: Setting, before: Any, *, is_option: bool) -> Any:
    value = msgspec.json.decode(change.value)
    if is_option and (not _is_number(before) or not _is_number(value)):
        raise ValueError(f"{change.key}: only numbers that the optimizer was given can be changed")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
