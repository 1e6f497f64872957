"""Who checks whom: work is done again by others, and a majority puts out who was false.

What is said, and what can be told of it at once
messages.py      a verdict, and what an auditor binds itself to before it is shown anything
commitment.py    a commitment held against the round it claims to belong to
lottery.py       who audits whom: hash chains and tickets
rates.py         how often whom; doubts.py: whose doubt has everybody look; duties.py: who was drawn and
                 did not judge

How work is compared
profile.py       whose work can be replayed bit by bit
compare.py       two results by their sketches; canary.py: how far apart honest ones may be
showing.py       who may see what of others' updates; exhibits.py: the stream that shows it
plausibility.py, evaluation.py  private work, without replay: how a part looks beside the others' parts,
                 and where the loss on held-out data goes

Judging
docket.py        recent records and the verdicts on them, until a majority agrees
kept.py          which verdicts are kept of who says more than there is room for
cases.py         why a key is out, as records that prove it to anybody
dispute.py       a quarrel narrowed down to one segment, and why that puts out nobody who is honest;
                 reopening.py: the stream on which a worker opens its run
auditor.py       what one node draws, does again and says
validator.py     the core of a node: `training.member` and all of the above; events.py is its interface

What a peer is worth to this node
evidence.py      what records say about a peer, as pieces that trust is added up from
halflife.py      fading values in integers, the same whatever came first
account.py       what is held for and against one peer; bans
reputation.py    trust, and why; witness.py: what feeds it
appraisal.py     what a member signs when it is asked for its opinion
voting.py        how differing opinions become one vote that all reduce with; regard.py: what a round asks
entry.py         what it costs to begin: a proof of work, or a member that answers for it; voucher.py: what
                 that member says, and when it holds

How evidence gets to who was away
idtree.py        a set of record ids under one root
antientropy.py   how a node pulls what it lacks
holdings.py      what of it is compared, and for how long
epochs.py        old verdicts in one signed summary
"""
