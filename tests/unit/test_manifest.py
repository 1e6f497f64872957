"""The manifest: one signed file, refused with one line that names the key and the remedy."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from dhtnode.errors import ConfigError, Exit
from dhtnode.identity import Identity
from dhtnode.manifest import (
    FORMAT,
    DataSection,
    InnerSection,
    Manifest,
    NetworkSection,
    OuterSection,
    RoundSection,
    TaskSection,
    Terms,
)

CREATOR = Identity.from_seed(b"c" * 32)
STRANGER = Identity.from_seed(b"x" * 32)
DATA = DataSection(mode="shared", digest="ab" * 32, total_bytes=100_000, chunks=("cd" * 32, "ef" * 32))


def terms(**changes: Any) -> Terms:
    plain = Terms(
        format=FORMAT, name="a-swarm", creator=CREATOR.peer_id, task=TaskSection(kind="text"), data=DATA
    )
    return msgspec.structs.replace(plain, **changes)


def table(**changes: Any) -> dict[str, Any]:
    """The parsed file of a good manifest; a change is `section__key=value`, None takes the key away."""
    found: dict[str, Any] = tomllib.loads(Manifest.create(terms(), CREATOR).dump())
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = found
        for section in sections:
            place = place[section]
        if value is None:
            del place[key]
        else:
            place[key] = value
    return found


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Manifest.parse(text, "swarm.toml")
    assert int(caught.value.exit_code) == int(Exit.MANIFEST) == 3
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("swarm.toml ")
    assert "; " in line, "no remedy"
    return line


finite = st.floats(min_value=1e-6, max_value=10, exclude_max=True)
some_terms = st.builds(
    terms,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    seed=st.integers(0, 2**40),
    task=st.builds(
        TaskSection,
        kind=st.sampled_from(["text", "digits", "my task.py:Task"]),
        options=st.dictionaries(
            st.text(min_size=1, max_size=8),
            st.integers(-(2**62), 2**62)
            | finite
            | st.booleans()
            | st.text(max_size=8)
            | st.lists(finite, max_size=3),
            max_size=4,
        ),
    ),
    inner=st.builds(
        InnerSection,
        steps=st.lists(
            st.tuples(st.integers(1, 99), st.integers(1, 99)), max_size=3, unique_by=lambda p: p[0]
        ).map(lambda pairs: ((0, 2), *sorted(pairs))),
        options=st.dictionaries(st.sampled_from(["lr", "eps"]), finite),
    ),
    outer=st.builds(OuterSection, lr=finite),
    network=st.builds(NetworkSection, bootstrap=st.lists(st.text(max_size=9), max_size=2).map(tuple)),
)


@given(some_terms)
def test_a_manifest_comes_back_from_its_file(given_terms: Terms) -> None:
    manifest = Manifest.create(given_terms, CREATOR)
    again = Manifest.parse(manifest.dump(), "swarm.toml")
    assert again == manifest
    assert again.swarm_id == manifest.swarm_id
    assert again.dump() == manifest.dump()


@given(some_terms, some_terms)
def test_other_terms_are_another_swarm(one: Terms, other: Terms) -> None:
    ids = {Manifest.create(one, CREATOR).swarm_id, Manifest.create(other, CREATOR).swarm_id}
    assert len(ids) == (1 if one == other else 2)


@given(st.data())
def test_any_changed_letter_of_the_file_is_refused(data: st.DataObject) -> None:
    manifest = Manifest.create(terms(), CREATOR)
    text = manifest.dump()
    position = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from('0aZ"=[.\n\\') | st.characters(codec="utf-8"))
    changed = text[:position] + letter + text[position + 1 :]
    try:
        outcome: Manifest | Exit = Manifest.parse(changed, "swarm.toml")
    except ConfigError as error:
        outcome = error.exit_code if "\n" not in str(error) else Exit.FAILED
    assert outcome in (manifest, Exit.MANIFEST)  # equal where the letter is white space


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inner__stepz": 3}, "unknown key `stepz` at `inner`"),
        ({"colour": "red"}, "unknown key `colour`"),
        ({"inner__batch_size": "eight"}, "Expected `int`, got `str` at `inner.batch_size`"),
        ({"inner__batch_size": 0}, ">= 1 at `inner.batch_size`"),
        ({"inner__clip_norm": True}, "got `bool` at `inner.clip_norm`"),
        ({"outer__momentum": 1.0}, "< 1.0 at `outer.momentum`"),
        ({"outer__lr": float("nan")}, "at `outer.lr`"),
        ({"reputation__late__sign": 1}, "late.sign must be -1 at `reputation`"),
        ({"reputation__ban_percent": 21}, "must rise at `reputation`"),
        ({"reputation__passed__colour": "red"}, "unknown key `colour` at `reputation.passed`"),
        ({"outer__lr": float("inf")}, "at `outer.lr`"),
        ({"round__stall_s": float("nan")}, "at `round.stall_s`"),
        ({"inner__options": {"lr": float("nan")}}, "inner.options holds a number that is not finite"),
        ({"task__options": {"b": [1.0, float("inf")]}}, "task.options holds a number that is not finite"),
        ({"wire__codec": "int3"}, "Invalid enum value 'int3' at `wire.codec`"),
        ({"data__mode": "secret"}, "at `data.mode`"),
        ({"data__digest": "ABC"}, "at `data.digest`"),
        ({"data__digest": None}, "data.digest is missing"),
        ({"data__chunks": ["cd" * 32]}, "data.chunks needs 2 digests"),
        ({"task": None}, "missing required field `task`"),
        ({"name": "../../etc"}, "at `name`"),
        ({"creator": "somebody"}, "creator is not a peer id"),
        ({"inner__steps": []}, "inner.steps must begin at round 0"),
        ({"inner__steps": [[1, 5]]}, "inner.steps must begin at round 0"),
        ({"inner__steps": [[0, 5], [9, 5], [3, 5]]}, "and rise"),
        ({"inner__steps": [[0, 5, 7]]}, "at `inner.steps[0]`"),
        ({"wire__chunk_elems": 300}, "wire.chunk_elems is no multiple"),
        ({"format": FORMAT + 1}, f"has format {FORMAT + 1}, this node reads format {FORMAT}; update dhtnode"),
        ({"format": 0}, f"has format 0, this node reads format {FORMAT}; make it with 'dhtnode swarm new'"),
        ({"format": "1"}, "has format '1'"),
        ({"format": True}, "has format True"),
        ({"format": None}, "has format None"),
        ({"signature": None}, "has no signature"),
        ({"signature": 5}, "has no signature"),
        ({"signature": "xyz"}, "has a bad signature"),
        ({"signature": "00" * 64}, "has a bad signature"),
        ({"seed": 1}, "has a bad signature: it was changed after signing; ask its creator"),
        ({"creator": STRANGER.peer_id}, "has a bad signature"),
        ({"network__bootstrap": ["/ip4/10.0.0.1/tcp/1"]}, "has a bad signature"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(change: dict[str, Any], words: str) -> None:
    assert words in refusal(tomli_w.dumps(table(**change)))


def test_what_is_not_a_manifest_at_all(tmp_path: Path) -> None:
    assert "is not TOML" in refusal("this is = not = toml")
    assert "has format None" in refusal("")
    with pytest.raises(ConfigError, match=r"cannot read .*missing.toml: No such file") as caught:
        Manifest.load(tmp_path / "missing.toml")
    assert caught.value.exit_code == Exit.MANIFEST
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        Manifest.load(tmp_path / "binary.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        Manifest.load(tmp_path)


def test_a_number_can_not_be_passed_off_as_text() -> None:
    one = terms(task=TaskSection(kind="text", options={"rate": 1.0}))
    for other in ("float:0x1.0000000000000p+0", "0x1.0000000000000p+0"):
        text = terms(task=TaskSection(kind="text", options={"rate": other}))
        assert Manifest.create(one, CREATOR).swarm_id != Manifest.create(text, CREATOR).swarm_id


def test_nobody_signs_bad_terms() -> None:
    with pytest.raises(ConfigError, match=r"the new manifest is not valid: data.digest is missing"):
        Manifest.create(terms(data=DataSection(mode="shared")), CREATOR)


def test_the_schedule_of_inner_steps() -> None:
    inner = InnerSection(steps=((0, 2), (20, 8), (60, 25)))
    assert [inner.steps_at(number) for number in (0, 19, 20, 59, 60, 10_000)] == [2, 2, 8, 8, 25, 25]


def test_private_data_needs_no_digest() -> None:
    private = Manifest.create(terms(data=DataSection(mode="private")), CREATOR)
    assert Manifest.parse(private.dump(), "swarm.toml") == private


def test_the_file_reads_well() -> None:
    text = Manifest.create(terms(round=RoundSection(rounds=7)), CREATOR).dump()
    assert text.index("name = ") < text.index("signature = ") < text.index("[task]") < text.index("[round]")
    assert "rounds = 7" in text
