"""The manifest: everything that the members of a swarm have agreed on, in one signed file.

`swarm.toml` is written once by its creator and never changes: its digest is the swarm id, which
goes into every signature, topic and DHT key. Two nodes with different manifests can't even hear
each other. This file holds the whole vocabulary, section by section; each default says where it
comes from. Reading checks the format version, every key, type and bound, and the signature.
"""

from __future__ import annotations

import math
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w

from dhtnode.digest import digest
from dhtnode.errors import ConfigError, Exit
from dhtnode.identity import Identity, is_peer_id, verify
from dhtnode.records import canonical
from dhtnode.reputation import ReputationSection
from dhtnode.reward import RewardSection, reward_fault
from dhtnode.section import Section

FORMAT = 5
"""Rises with every key that comes or goes: signed bytes name all keys, those left at their defaults, too."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
HexDigest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**40)]
NonNegative = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Option = int | float | str | bool | list[float]


class TaskSection(Section, frozen=True, kw_only=True):
    """What is trained."""

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """`text`, `digits`, or `FILE.py:Class` for a task of your own."""
    code_digest: HexDigest | None = None
    """SHA-256 of FILE.py: members run the same code or do not start."""
    options: dict[str, Option] = msgspec.field(default_factory=dict)
    """Options of the task, for `text` the model's sizes."""


class DataSection(Section, frozen=True, kw_only=True):
    """What it is trained on."""

    mode: Literal["shared", "private"]
    """`shared`: content-addressed and served by peers. `private`: each node's own, never sent."""
    digest: HexDigest | None = None
    """Root over `chunks`; see `dhtnode.digest.root_digest`."""
    total_bytes: NonNegative = 0
    chunk_bytes: Positive = 65_536
    chunks: tuple[HexDigest, ...] = ()
    """Digest of each chunk, so that a chunk from any peer is checked on its own."""
    held_out: Share = 0.1
    """The last part of the data, for evaluation only. One tenth is common practice."""


class InnerSection(Section, frozen=True, kw_only=True):
    """Local work between two synchronisations (DiLoCo's inner loop, arXiv:2311.08105)."""

    steps: tuple[tuple[NonNegative, Positive], ...] = ((0, 25),)
    """Pairs of (from round, inner steps H). Small H early costs bytes and buys loss."""
    batch_size: Positive = 8
    optimizer: Name = "AdamW"
    """Any class of `torch.optim`."""
    options: dict[str, Option] = msgspec.field(default_factory=lambda: {"lr": 3e-3})
    """Its keyword arguments."""
    clip_norm: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """Largest gradient norm of one inner step; 0 switches clipping off."""
    warmup_steps: NonNegative = 20
    """Nominal inner steps until the full learning rate."""
    round_warmup: NonNegative = 0
    """Inner steps at the start of each later round over which it rises again: without its moments
    Adam takes its first steps at full length, whatever the gradient's noise."""
    final_lr: Share = 0.1
    """Share of the learning rate that is left in the last round (cosine in between)."""
    moments: Literal["reset", "averaged"] = "reset"
    """Optimizer state at a round's start: none, or averaged over members like the weights."""
    scaling: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Memory of the shared second moments whose root divides each gradient, see `training.scaling`:
    the share that stays from round to round. 0: gradients are taken as they are. For optimizer `SGD`."""
    scaling_eps: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1e-5
    """Added to that root. Measured with 0.18 M parameters (docs/convergence.md)."""

    def steps_at(self, round_no: int) -> int:
        """Inner steps H of a full-speed node in a round."""
        return max(((start, steps) for start, steps in self.steps if start <= round_no))[1]


class OuterSection(Section, frozen=True, kw_only=True):
    """How the averaged pseudo-gradient moves the shared weights (SGD with Nesterov momentum)."""

    lr: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.7
    """DiLoCo, section 3: 0.7."""
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    """DiLoCo, section 3: 0.9."""


class WireSection(Section, frozen=True, kw_only=True):
    """The form in which pseudo-gradients travel."""

    codec: Literal["int8", "int4", "int2", "fp32"] = "int8"
    block_elems: Literal[32, 64, 128, 256] = 64
    """Elements that share one scale. 64 int8 elements: 6 % overhead."""
    chunk_elems: Annotated[int, msgspec.Meta(ge=256, le=2**22)] = 16_384
    """Elements of one digested chunk; parts are whole numbers of chunks."""


class ReduceSection(Section, frozen=True, kw_only=True):
    """What the members' updates become."""

    rule: Literal["clipped", "mean"] = "clipped"
    """`clipped`: what lies further from the middle than others do is pulled in, see
    `training.aggregate`: until a cheat is out, it can do little harm. `mean`: for members that trust
    each other, and where shards differ so much that an honest member looks like a cheat."""


class RoundSection(Section, frozen=True, kw_only=True):
    """How rounds run. Deadlines are learned; these are the bounds of the learning."""

    rounds: Positive = 100
    min_peers: Positive = 1
    """A founding node waits for this many commitments before the first round closes."""
    first_deadline_s: Seconds = 60.0
    """Deadline while nothing has been learned. A guess."""
    slack: Annotated[float, msgspec.Meta(ge=1, le=10)] = 2.0
    """Learned deadline = high quantile of recent rounds x slack. A guess."""
    min_deadline_s: Seconds = 1.0
    """No deadline is shorter: below it, scheduling noise on a laptop looks like death."""
    stall_s: Seconds = 60.0
    """Without a quorum for this long, a node may go on as a marked branch. A guess."""


Probation = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class AuditSection(Section, frozen=True, kw_only=True):
    """How others' work is checked by doing it again."""

    rate: Share = 1 / 16
    """Share of a member's rounds that are replayed by somebody, once it has passed enough of them;
    BTARD (arXiv:2106.11257) spends about this much of its compute on checks. 0 switches audits off, for
    a task that does not give the same bits twice."""
    segment: Annotated[int, msgspec.Meta(ge=0, le=2**20)] = 16
    """Inner steps between two committed boundaries of a local run: what a juror has to do again in a
    dispute. 0, or as many as a round has: the whole run. A boundary costs as much as 0.13 to 0.17 inner
    steps of batch 8 x 64 tokens (measured, docs/validation.md): with 16, 1 % of training."""
    work_probation: Probation = 3
    """Audits of its work that a newcomer has to come through before it is audited less. A guess. The ledger
    expects audits by it as well."""
    part_probation: Probation = 3
    """The same of parts that it has reduced. A guess."""
    verdict_probation: Probation = 1
    """The same of its verdicts. One costs a whole replay to check, as work does, but a member gives one in
    sixteen rounds: with 3, its first hundred would be checked at a newcomer's rate. And one that is false
    needs friends to do harm. A guess."""
    part_factor: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """How much more often parts are reduced again than work is replayed: that costs a chunk or two, not a
    local run. A guess."""


class NetworkSection(Section, frozen=True, kw_only=True):
    """Where to find the swarm."""

    bootstrap: tuple[str, ...] = ()
    """Multiaddrs with /p2p/ of members that are usually up. `--peer` adds to them."""


class Terms(Section, frozen=True, kw_only=True):
    """All that the creator signs."""

    format: Annotated[int, msgspec.Meta(ge=1)]
    name: Name
    creator: str
    seed: NonNegative = 0
    task: TaskSection
    data: DataSection
    inner: InnerSection = InnerSection()
    outer: OuterSection = OuterSection()
    wire: WireSection = WireSection()
    reduce: ReduceSection = ReduceSection()
    round: RoundSection = RoundSection()
    audit: AuditSection = AuditSection()
    reputation: ReputationSection = ReputationSection()
    reward: RewardSection = RewardSection()
    network: NetworkSection = NetworkSection()


class Manifest(msgspec.Struct, frozen=True, dict=True):
    """Terms and the creator's signature over them."""

    terms: Terms
    signature: bytes

    @cached_property
    def swarm_id(self) -> bytes:
        """32 bytes that name the swarm."""
        return digest("swarm", _signed_form(self.terms))

    @classmethod
    def create(cls, terms: Terms, creator: Identity) -> Manifest:
        """Sign terms. `terms.creator` must be the signer's peer id."""
        check_terms(terms, "the new manifest")
        return cls(terms, creator.sign(_signed_form(terms)))

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read and verify a manifest file.

        Raises:
            ConfigError: with exit code MANIFEST (3) and one line that names key and remedy.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(
                f"cannot read {path}: {why}; give the path of a swarm.toml", Exit.MANIFEST
            ) from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Manifest:
        """The manifest in `text`; `source` names it in errors. Raises as `load`."""
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise _refused(source, f"is not TOML: {error}", "ask its creator for a fresh copy") from error
        found = table.get("format")
        if found != FORMAT:
            raise _refused(
                source, f"has format {found!r}, this node reads format {FORMAT}", _other_version(found)
            )
        signature = table.pop("signature", None)
        if not isinstance(signature, str):
            raise _refused(source, "has no signature", "ask its creator for the signed file")
        try:
            terms = msgspec.convert(table, Terms, strict=True)
        except msgspec.ValidationError as error:
            raise _refused(
                source, f"is not valid: {plain_error(error)}", "correct the key and sign again"
            ) from error
        check_terms(terms, source)
        try:
            signature_bytes = bytes.fromhex(signature)
        except ValueError:
            signature_bytes = b""
        if not verify(terms.creator, _signed_form(terms), signature_bytes):
            raise _refused(
                source,
                "has a bad signature: it was changed after signing",
                "ask its creator for a fresh copy",
            )
        return cls(terms, signature_bytes)

    def dump(self) -> str:
        """The file's text; `parse` gives back an equal manifest."""
        table = {key: _without_none(value) for key, value in msgspec.to_builtins(self.terms).items()}
        scalars = {key: value for key, value in table.items() if not isinstance(value, dict)}
        sections = {key: value for key, value in table.items() if isinstance(value, dict)}
        return str(tomli_w.dumps({**scalars, "signature": self.signature.hex(), **sections}))


def _signed_form(terms: Terms) -> bytes:
    return canonical(["dhtnode/manifest", _exact(msgspec.to_builtins(terms))])


def terms_digest(terms: Terms) -> bytes:
    """32 bytes that are equal on two nodes which play by the same terms."""
    return digest("terms", _signed_form(terms))


def _exact(value: Any) -> Any:
    """Floats as hexadecimal text, in a map that no option can be: signed bytes hold no floats."""
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    return value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def check_terms(terms: Terms, source: str) -> None:
    """Check what a type can't say. Raises as `Manifest.load`."""
    if not is_peer_id(terms.creator):
        raise _refused(
            source, "is not valid: creator is not a peer id", "use the peer id of its creator's node"
        )
    starts = [start for start, _ in terms.inner.steps]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)):
        raise _refused(
            source, "is not valid: inner.steps must begin at round 0 and rise", "correct inner.steps"
        )
    fault = _scaling_fault(terms.inner)
    if fault:
        raise _refused(source, f"is not valid: inner.scaling {fault}", "correct the section [inner]")
    for key, options in (("task.options", terms.task.options), ("inner.options", terms.inner.options)):
        if not _finite(list(options.values())):
            raise _refused(source, f"is not valid: {key} holds a number that is not finite", f"correct {key}")
    if terms.wire.chunk_elems % terms.wire.block_elems:
        raise _refused(
            source,
            "is not valid: wire.chunk_elems is no multiple of wire.block_elems",
            "correct wire.chunk_elems",
        )
    fault = reward_fault(terms.reward, terms.audit.rate)
    if fault:
        raise _refused(source, f"is not valid: {fault}", "correct the section [reward]")
    if terms.data.mode == "shared" and terms.data.digest is None:
        raise _refused(
            source, "is not valid: data.digest is missing", "make the manifest with 'dhtnode swarm new'"
        )
    expected = -(-terms.data.total_bytes // terms.data.chunk_bytes)
    if terms.data.mode == "shared" and len(terms.data.chunks) != expected:
        raise _refused(
            source, f"is not valid: data.chunks needs {expected} digests", "make it with 'dhtnode swarm new'"
        )


def _scaling_fault(inner: InnerSection) -> str | None:
    """What the shared second moments follow from is known only if a step is rate times gradient."""
    rate = inner.options.get("lr")
    if not inner.scaling:
        return None
    if inner.optimizer != "SGD" or inner.options.get("momentum"):
        return "is for optimizer `SGD` without momentum"
    if inner.moments != "reset":
        return "and inner.moments `averaged` exclude each other"
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
        return "needs a number above 0 as inner.options.lr"
    return None


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _refused(source: str, what: str, remedy: str) -> ConfigError:
    return ConfigError(f"{source} {what}; {remedy}", Exit.MANIFEST)


def plain_error(error: msgspec.ValidationError) -> str:
    return str(error).replace(" - at `$.", " at `").replace("Object contains unknown field", "unknown key")


def _other_version(found: object) -> str:
    newer = isinstance(found, int) and found > FORMAT
    return "update dhtnode to join this swarm" if newer else "make it with 'dhtnode swarm new'"
