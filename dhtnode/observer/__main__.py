"""`python -m dhtnode.observer`: the same as `dhtnode-observer`."""

from dhtnode.observer import main

main()
