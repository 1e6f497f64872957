"""How members change the constants they have agreed on.

A member proposes an amendment: some keys of the manifest and their new values, and the epoch whose first
round is the first under them. Others sign ballots for it. There is no ballot against: who has not
signed is against, so ballots are a grow-only set like everything else, more of them never undo a
decision, and nobody can vote twice.

A vote weighs what its key has vested at the end of the epoch in which the amendment was proposed, up to
a cap. With two thirds of all that weight the amendment is adopted. It takes effect one whole epoch after
the one in which it was proposed at the earliest: in that epoch ballots reach everybody, and who does
not want to stay can leave. Credits at stake do not vote: a newcomer has nothing to lose yet.

What this does not give: a ballot carries no date that others could check. Who holds back the ballot that
decides until the last moment can have some nodes move and others wait; those that wait find the
majority gone, are shown its ballots, and follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from dhtnode.errors import ConfigError
from dhtnode.manifest import Terms, check_terms, plain_error
from dhtnode.records import Body, Count, Digest, Signed
from dhtnode.reward import PPM, RewardSection
from rewards.entries import raw_key

MAX_CHANGES = 16
MAJORITY = (2, 3)
"""Of the weight of all, as for amendments of most constitutions."""
FIXED = ("format", "name", "creator", "seed", "task", "data")
"""What makes the swarm this swarm and no other: another model or dataset wants a new one."""

Key = Annotated[str, msgspec.Meta(pattern=r"^[a-z_]+\.[a-z_]+(\.[A-Za-z_]+)?$", max_length=80)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
State = Literal["open", "adopted", "rejected"]


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One key of the manifest."""

    key: Key
    """`section.key`, or `section.options.key`."""
    value: Text
    """The new value as JSON: signed records hold no floats."""


class Amendment(Body, frozen=True, kw_only=True):
    """A member proposes other constants."""

    KIND: ClassVar[str] = "amendment"
    MAX_BYTES: ClassVar[int] = 4096
    epoch: Count
    """In which it is proposed."""
    effect: Count
    """Epoch whose first round is the first under the new constants."""
    changes: Annotated[tuple[Setting, ...], msgspec.Meta(min_length=1, max_length=MAX_CHANGES)]


class Ballot(Body, frozen=True, kw_only=True):
    """A member is for an amendment."""

    KIND: ClassVar[str] = "ballot"
    MAX_BYTES: ClassVar[int] = 512
    amendment: Digest
    """Id of that record."""


@dataclass(frozen=True)
class Decision:
    """What has become of an amendment, and why."""

    state: State
    reason: str
    """In plain words."""
    terms: Terms | None = None
    """What holds from the first round of the amendment's `effect` on, if it is adopted."""


def decide(
    amendment: Signed[Amendment],
    ballots: Iterable[Signed[Ballot]],
    vested: Mapping[bytes, int],
    terms: Terms,
    epoch: int,
) -> Decision:
    """What has become of an amendment: the same on all nodes with the same records.

    Args:
        amendment: verified.
        ballots: verified; those on other amendments do not count.
        vested: micro-credits by raw key, at the end of the epoch in which it was proposed.
        terms: the manifest's, which hold while it is voted on.
        epoch: the current one.
    """
    body = amendment.body
    if body.effect < body.epoch + 2:
        return Decision("rejected", "there is no whole epoch between the proposal and its effect")
    try:
        amended = amend(terms, body.changes)
    except ValueError as error:
        return Decision("rejected", f"it makes no valid manifest: {error}")
    votes = weights(vested, terms.reward)
    voters = {amendment.signer, *(one.signer for one in ballots if one.body.amendment == amendment.id)}
    given, total = sum(votes.get(raw_key(peer), 0) for peer in voters), sum(votes.values())
    said = f"{given * 1000 // total / 10 if total else 0:.1f} % of the votes are for it"
    if total and given * MAJORITY[1] >= total * MAJORITY[0]:
        return Decision("adopted", f"{said}: it holds from epoch {body.effect}", amended)
    if epoch >= body.effect:
        return Decision("rejected", f"{said}, two thirds were needed before epoch {body.effect}")
    return Decision("open", f"{said}, two thirds are needed before epoch {body.effect}")


def weights(vested: Mapping[bytes, int], section: RewardSection) -> dict[bytes, int]:
    """The vote of each key: its vested credits, none above the cap."""
    cap = sum(vested.values()) * section.vote_cap_ppm // PPM
    return {key: min(amount, cap) for key, amount in vested.items()}


def amend(terms: Terms, changes: Iterable[Setting]) -> Terms:
    """The terms with some constants changed.

    Raises:
        ValueError: a key that is fixed, unknown or named twice, or a value that is not valid.
    """
    table = msgspec.to_builtins(terms)
    named = set()
    for change in changes:
        *sections, last = change.key.split(".")
        if sections[0] in FIXED:
            raise ValueError(f"{change.key} can't be changed, it makes the swarm what it is")
        if change.key in named:
            raise ValueError(f"{change.key} is named twice")
        named.add(change.key)
        place: Any = table
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ValueError(f"{change.key} is no key of the manifest")  # noqa: TRY004 - the value is wrong
        try:
            place[last] = msgspec.json.decode(change.value)
        except msgspec.DecodeError as error:
            raise ValueError(f"{change.key}: {error}") from error
    try:
        amended = msgspec.convert(table, Terms, strict=True)
        check_terms(amended, "the amended manifest")
    except msgspec.ValidationError as error:
        raise ValueError(plain_error(error)) from error
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return amended
