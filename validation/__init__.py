"""Who checks whom: work is done again by others, and a majority puts out who was false.

messages.py    a verdict: who replayed whose work and what came out
commitment.py  a commitment held against the round it claims to belong to
lottery.py     who audits whom: hash chains and tickets
profile.py     whose work can be replayed bit by bit
docket.py      recent work and the verdicts on it, until a majority agrees
cases.py       why a key is out, as records that prove it to anybody
evidence.py    what records say about a peer, as pieces that trust is added up from
halflife.py    fading values in integers, the same whatever came first
account.py     what is held for and against one peer; bans
reputation.py  what each peer is worth to this node: trust, audit rate, and why
voting.py      how differing opinions become one vote that all reduce with
entry.py       what it costs to begin: a proof of work, or a member that answers for it
idtree.py      a set of record ids under one root
antientropy.py how a node that was away pulls what it lacks
epochs.py      old verdicts in one signed summary
validator.py   the core of a node: `training.member` and all of the above
"""
