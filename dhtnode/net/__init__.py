"""Network adapters: everything above speaks peer ids and bytes, and knows no hivemind.

network.py       the facade: start, stop, who is connected, all that follows
daemon.py        the libp2p daemon as a child process: start, failures that explain themselves, no orphans
control.py       the daemon's control socket
streams.py       raw byte streams with deadlines and limits; request and reply
gossip.py        GossipSub topics
dht.py           presence in hivemind's DHT, each entry signed by the peer it names
chunkplan.py     content as digests, and who is asked for which chunk (pure)
chunks.py        content from several peers at once, each chunk verified
instance.py      is this identity running elsewhere already?
attempts.py      several dials at once, and how long the slow ones are waited for
multiaddress.py  addresses as text
"""
