"""The node: identity, wire, network, storage, command line, composition.

errors.py     whose fault it is, and exit codes        store.py      SQLite: records, promises, history
digest.py     hashes and derived randomness            home.py       a node's folder, one process at a time
identity.py   the Ed25519 key and its peer id          files.py      whole-or-nothing files
records.py    canonical, signed records                status.py     the status document
manifest.py   a swarm's terms, signed                  proposals.py  the same for votes on the constants
section.py    what its sections have in common         control.py    the Unix socket that answers with both
reputation.py constants of trust, checked together     alias.py      a name to say a key by
reward.py     constants of the ledger, likewise        quota.py      how many messages a peer may send
amendments.py how constants change while a swarm runs
presence.py   how a member is found                    config.py     what the operator decides
driver.py     the one event loop                       heap.py      freed memory, given back
net/          the only code that knows hivemind        observer/     the same swarm seen by py-libp2p
app/, cli/    composition root, command line

Imports run one way: dhtnode <- training <- validation <- rewards. Only app/, cli/ and observer/ look upward.
"""
