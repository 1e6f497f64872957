"""A name that people can say, for each key: it follows from the peer id, so all see the same one.

Nothing is registered and nothing is believed. A quarter of a million names are no identity: somebody with
time makes a key of any alias. So it is shown beside a peer id, and no command takes it instead of one.
"""

from __future__ import annotations

from functools import lru_cache

from dhtnode.digest import digest

MOODS = """
    able airy apt avid bold brave brief brisk calm candid clever cosy crisp curious daring deft
    eager early easy even fair fleet fond frank free fresh gentle glad grand happy hardy humble
    jolly keen kind lively loyal lucky mellow merry mild modest neat nimble noble open patient
    placid plain polite prompt proud quick quiet ready sharp shy sly spry steady sunny tidy warm
    wise
"""
COLOURS = """
    amber apricot aqua ash auburn azure beige black blue bronze brown buff cherry citron clay cobalt
    copper coral cream crimson cyan ebony emerald fawn ginger gold green grey hazel indigo iris
    ivory jade jet khaki lemon lilac lime maroon mauve mint mocha navy ochre olive opal orange peach
    pearl pink plum red rose ruby rust sable sand scarlet sepia silver slate teal violet white
"""
ANIMALS = """
    ant badger bat bear beaver bee bison boar bream cat crane crow deer dingo dove duck eagle eel
    egret elk falcon ferret finch fox frog gecko gnu goat goose hare hawk heron horse ibex jay koala
    lark lemur lion llama lynx marten mole moose moth mouse newt otter owl panda pika pony puma
    quail raven robin seal shrew snail stork swan tapir vole yak
"""
_WORDS = tuple(tuple(words.split()) for words in (MOODS, COLOURS, ANIMALS))


@lru_cache(maxsize=1024)
def alias_of(peer_id: str) -> str:
    """Three words for a peer id, as `calm-amber-otter`; nothing for none."""
    drawn = digest("alias", peer_id)
    return "-".join(words[drawn[place] % len(words)] for place, words in enumerate(_WORDS)) if peer_id else ""
