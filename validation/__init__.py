"""Who checks whom: work is done again by others, and a majority puts out who was false.

messages.py    a verdict: who replayed whose work and what came out
commitment.py  a commitment held against the round it claims to belong to
lottery.py     who audits whom: hash chains and tickets
profile.py     whose work can be replayed bit by bit
compare.py     two results by their sketches; canary.py: how far apart honest ones may be
docket.py      recent work and the verdicts on it, until a majority agrees
cases.py       why a key is out, as records that prove it to anybody
plausibility.py, evaluation.py  private work, without replay: how a part looks beside the others' parts,
               and where the loss on held-out data goes
validator.py   the core of a node: `training.member` and all of the above
"""
