"""What work is worth: a ledger that everybody computes alike from signed records.

receipts.py    a member's commitment and the certificate that took it in; if its data can be verified
evidence.py    from records that fit together to the entries that the ledger reads
rounds.py      closed rounds in one piece, for who was not there
entries.py     those entries: 149 bytes each, their order, their set and its root
formula.py     each term of the reward, in integers
data.py        who brought which data: claims, rarity, sketches that show copies
stake.py       credits vest, and are at stake until then
accounts.py    a member's account, balance, and why it changed
ledger.py      balances as a fold over the entries of the followed chain
snapshot.py    a ledger as bytes
book.py        the ledger on the disk
heads.py       which head each closed round ended with, on the disk
tree.py        Merkle trees and proofs (RFC 6962)
ownership.py   vested credits as shares of a million, each of which its owner can show
export.py      an epoch's balances as a signed file
statement.py   a member's account as the status document has it
disclosure.py  what is shown to anybody who asks what balances rest on
governance.py  how members change the constants: amendments, ballots, what they weigh
stored.py      the terms in force, from a store

From a record to a share: `evidence` makes entries, `book` keeps them, `ledger` folds them with `formula`
and `stake`, `ownership` and `export` show what has come out. The constants are the manifest's, in
`dhtnode/reward.py`. All but `book.py`, `heads.py` and `stored.py` is pure.
"""
