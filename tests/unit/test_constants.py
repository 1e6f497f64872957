"""Each constant of reputation, rewards and audits says where its number comes from, or that it is a guess."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

import pytest

from dhtnode.manifest import AuditSection
from dhtnode.reputation import ReputationSection
from dhtnode.reward import RewardSection

ORIGIN = re.compile(
    r"\bguess(es)?\b|\bsource: |\bfollows from\b|\bmeasured\b|\barxiv:\d|\bcreator's choice\b", re.IGNORECASE
)
"""A guess, a paper, a derivation, a measurement, or nobody's business but the creator's."""


def unsourced(source: str) -> list[str]:
    """Fields of a class with a default whose own docstring does not say where that comes from."""
    (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    found = []
    for place, node in enumerate(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            following = body[place + 1] if place + 1 < len(body) else None
            if not ORIGIN.search(_docstring(following)):
                found.append(node.target.id)
    return found


def _docstring(node: ast.stmt | None) -> str:
    """Of the field before it, in one line; nothing if it is something else."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return ""
    return " ".join(str(node.value.value).split())


@pytest.mark.parametrize("section", [ReputationSection, RewardSection, AuditSection])
def test_each_constant_has_a_source_or_the_word_guess(section: type) -> None:
    assert unsourced(textwrap.dedent(inspect.getsource(section))) == []


def test_a_constant_without_either_is_named() -> None:
    """A control: no docstring, one for two fields, and one that says only what it is for."""
    source = '''
class Section:
    """A guess."""
    needed: int
    bare: int = 1
    shared: int = 2
    told: int = 3
    """Two numbers. Guesses."""
    plain: int = 4
    """So that rounds end."""
    derived: int = 5
    """A second. Follows
    from `told`."""
'''
    assert unsourced(source) == ["bare", "shared", "plain"]
