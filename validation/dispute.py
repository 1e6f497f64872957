"""A quarrel about a member's work, narrowed down to one segment of it.

An auditor that has replayed a whole run and found it false asks the worker for its sealed boundaries, sees
in one pass where the run first leaves the true one, and names that segment in its `fail`. Who is called
to judge asks the worker for the state that the segment begins in, and replays only that.

Why this can put nobody out who is honest (all of it on one device profile, where bits are equal):

- A commitment fixes its list of boundaries: no second list has its root. So whether segment k is sound, that
  is, whether what boundary k-1 names leads to boundary k (to the update, for the last), is a fact that
  nobody's word can change, and every segment of honest work is sound.
- A `fail` says that the work is false. One false segment shows that, whichever it is: `fail`s that name
  different segments, or none, agree with each other, and count together for a case of `work`.
- A `pass` says that all of the work is sound, boundaries included, and never less: one sound segment says
  nothing of the others. A juror that finds the named segment sound therefore replays the whole before it
  says anything. Otherwise a friend of the cheat could name a sound segment first, have all jurors say
  `pass`, and none of them could ever say `fail`. So `pass` and `fail` still contradict each other, and cases
  of `accusation` and `acquittal` mean what they meant.
- To refute a false accuser costs the whole run and one segment. Less would change nothing: it need not name a
  segment. It pays with its key.
- A worker that opens nothing, or something else than it has committed to, is replayed as a whole, which takes
  nobody's leave: it is found guilty without its help, and gains nothing but its judges' time.
- What a worker has sealed but is no state of its run (`BadBoundaryError`) is as false as a wrong digest.

The boundaries' digests are sealed under the worker's name and show nothing, so any member of the round may
see them. A state is shown only where somebody's `fail` names the segment that begins in it: who is shown the
last one can replay the update from there.
"""

from __future__ import annotations

from collections.abc import Sequence

from dhtnode.errors import RemoteProtocolError
from dhtnode.manifest import Terms
from dhtnode.records import Signed
from training.messages import Commitment
from training.segments import boundaries_of, seal, seal_all, segments_root
from validation.cases import is_exact
from validation.docket import Trial
from validation.events import Replayed
from validation.messages import Verdict

Work = Signed[Commitment]


def boundary_count(work: Work, terms: Terms) -> int:
    """How many boundaries a member's run has; its segments are one more."""
    return len(boundaries_of(terms, work.body.round, work.body.steps))


def check_seals(work: Work, seals: Sequence[bytes], terms: Terms) -> None:
    """Hold an opened list against the commitment.

    Raises:
        RemoteProtocolError: reason `bad-opening`.
    """
    if len(seals) != boundary_count(work, terms) or segments_root(seals) != work.body.segments:
        raise RemoteProtocolError(work.signer, "bad-opening", "boundaries are not those it committed to")


def has_sealed(work: Work, seals: Sequence[bytes], index: int, boundary: bytes) -> bool:
    """Whether a boundary's digest is what the worker has committed to.

    Args:
        work: its commitment.
        seals: its list, checked.
        index: of the boundary, from 0.
        boundary: `Boundary.digest`.
    """
    return seals[index] == seal(work.signer, work.body.base, index, boundary)


def seals_of(work: Work, replay: Replayed) -> tuple[bytes, ...]:
    """What the worker's list would be if it had done what a replay of its work did."""
    return seal_all(work.signer, work.body.base, replay.boundaries)


def accusation(trial: Trial, terms: Terms) -> Signed[Verdict] | None:
    """The first `fail` on work that names a segment which there is."""
    if not isinstance(trial.target.body, Commitment):
        return None
    most = len(boundaries_of(terms, trial.target.body.round, trial.target.body.steps))
    naming = (
        verdict
        for verdict in trial.saying("fail")
        if verdict.body.segment is not None and is_exact(verdict, trial.target)
    )
    return next((verdict for verdict in naming if 0 < most >= (verdict.body.segment or 0)), None)


def is_named(trial: Trial, segment: int | None) -> bool:
    """Whether somebody's `fail` names this segment."""
    return any(verdict.body.segment == segment for verdict in trial.saying("fail"))
