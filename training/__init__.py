"""What is trained, and how a round turns local work into one state that all share to the bit.

The data's way through a round, from state t to state t + 1:

    state.py      the shared state: one vector, its chunks and its digest
    inner.py      local inner steps; with data.py (which batches), schedule.py (learning rate),
                  optimizer.py, flatten.py (a model as a vector) and tasks/ (what is trained)
    segments.py   where a local run can be cut, and how its member is bound to the cuts; boundary.py:
                  the exact state at one
    codec.py      the pseudo-gradient as bytes; contribution.py: digested, and checked on arrival
    partition.py  who reduces which chunks
    reduce.py     the senders' chunks become one, in roster order; aggregate.py: by clipping, which is the
                  default, or by the weighted mean
    outer.py      Nesterov step, and the next state; scaling.py: what it tells of gradients' sizes

    genesis.py    the state before the first round, from the seed alone; eager.py: torch uncompiled
    checkpoint.py the state on disk
    rehearsal.py  all of the above in one process, without a network

How members agree on who is in a round and how it closed (pure: events in, effects out):

    member.py     a node's life: the chain of rounds, catching up, going on alone; chain.py, pace.py;
                  sync.py: what neighbours ask each other; stall.py: when to go on alone, and who first
    round.py      one round: gathering.py (who is in), butterfly.py and closing.py (reduce and close)
    acceptance.py whose work a round has taken in
    in_force.py   the manifest's terms and what a chain has amended in them, round by round
    agreement.py  one value among known electors; roster.py: who leads, and what a majority is;
                  regard.py: what a node thinks of the others, as far as a round asks
    messages.py   the records that members send; pool.py: what has been said; early.py: what was said
                  before its round began here; deadlines.py
    events.py     the interface between this core and the shell around it

The shell: worker.py (arithmetic in threads), exchange.py (parts on the network), library.py (states
and data served by digest).
"""
