"""The status document: what the issue promises is in it, and every field is documented."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.errors import ConfigError
from dhtnode.status import (
    AccountPart,
    OfMePart,
    OutsidePart,
    PeerPart,
    PlausibilityPart,
    ShownPart,
    Status,
    SuspicionPart,
    SwarmPart,
    TrainingPart,
    TrustPart,
    VoucherPart,
    WhyPart,
    parse_status,
    totals,
)

PARTS = {"swarm", "round", "training", "traffic", "receipts", "audits", "audits.of_me", "audits.by_me"}
PARTS |= {"terms", "reputation", "rewards"}
ROWS = {"reputation.table[]": TrustPart, "reputation.of_me": OfMePart, "why[]": WhyPart}
DOCS = Path(__file__).parents[2] / "docs" / "status.md"


def status(**changes: object) -> Status:
    plain = Status(running=True, saved_at_s=1.0, version="0", swarm=SwarmPart(id="00", name="s"), peer_id="p")
    return msgspec.structs.replace(plain, **changes)


def paths(kind: type[msgspec.Struct], prefix: str = "") -> set[str]:
    """Dotted names of all fields, those of parts as well."""
    found = set()
    for field in msgspec.structs.fields(kind):
        found.add(prefix + field.name)
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found |= paths(inner, f"{prefix}{field.name}.")
    return found


def test_every_field_is_documented() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    text = "\n".join(rows)
    missing = {
        path
        for path in paths(Status) | {f"peers[].{field.name}" for field in msgspec.structs.fields(PeerPart)}
        if f"`{path}`" not in text
        and not re.search(
            rf"`{re.escape(path.rsplit('.', 1)[0])}\.\w+`.*`\.?{path.rsplit('.', 1)[-1]}`", text
        )
        and path not in PARTS
        and not (path.startswith(("branch.", "storage.")) and f"`{path.split('.')[1]}`" in text)
    }
    assert missing == set()


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        (TrustPart, "reputation.table[]"),
        (OfMePart, "reputation.of_me"),
        (VoucherPart, "reputation.vouchers[]"),
        (WhyPart, "why[]"),
        (OutsidePart, "outside"),
        (ShownPart, "outside.shown[]"),
        (AccountPart, "outside.accounts[]"),
    ],
)
def test_the_lists_of_standing_are_documented_too(kind: type[msgspec.Struct], prefix: str) -> None:
    text = DOCS.read_text()
    for field in msgspec.structs.fields(kind):
        named = f"`{prefix}.{field.name}`" in text
        assert named or re.search(rf"`{re.escape(prefix)}\.\w+`.*`\.{field.name}`", text), field.name


def test_suspicion_is_documented_too() -> None:
    text = DOCS.read_text()
    for field in msgspec.structs.fields(PlausibilityPart):
        assert f"`plausibility.{field.name}`" in text or f"`.{field.name}`" in text, field.name
    for field in msgspec.structs.fields(SuspicionPart):
        assert f"`plausibility.peers{{}}.{field.name}`" in text or f"`.{field.name}`" in text, field.name


def test_the_document_has_the_promised_fields() -> None:
    document = json.loads(status().encode())
    promised = (
        "schema swarm.id swarm.name peer_id addresses peers round.number round.phase round.reason "
        "round.state_digest training.eval_loss training.tokens training.utilisation "
        "traffic.sent_bytes traffic.received_bytes rejected running reputation.of_me.median "
        "reputation.of_me.lowest reputation.of_me.observers reputation.table audits.of_me audits.by_me "
        "rewards.by_term rewards.vested rewards.stake rewards.ownership_ppm why"
    )
    for path in promised.split():
        place = document
        for key in path.split("."):
            assert key in place, path
            place = place[key]


def test_an_unknown_number_is_null_and_never_not_a_number() -> None:
    document = json.loads(status(training=TrainingPart(loss=math.nan)).encode())
    assert document["training"]["loss"] is None


def test_a_document_of_a_newer_node_with_more_fields_is_read() -> None:
    document = json.loads(status().encode()) | {"credits": 3}
    document["round"]["stake"] = 1
    assert parse_status(json.dumps(document).encode()) == status()


def test_a_document_of_another_schema_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"speaks status schema 2, this command reads 1"):
        parse_status(status(schema=2).encode())
    with pytest.raises(ConfigError, match="an unknown one"):
        parse_status(b'{"schema": 3}')


counts = st.dictionaries(st.text(max_size=3), st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)))


@given(counts)
def test_totals_lose_nothing(by_peer: dict[str, dict[str, int]]) -> None:
    assert sum(totals(by_peer).values()) == sum(sum(reasons.values()) for reasons in by_peer.values())
