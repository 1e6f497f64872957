"""`python -P -m dhtnode.cli`: the same as the console script, for a given Python."""

from dhtnode.cli import main

main()
