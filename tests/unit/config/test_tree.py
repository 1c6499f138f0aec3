from __future__ import annotations

import pytest

from aiogateway.config.conditions import Query
from aiogateway.config.model import Mode
from aiogateway.config.tree import Branch, Rule
from aiogateway.types import Target

LEAF = Target(path="config.targets[0]", provider="mock")


def test_a_branch_says_nothing_that_it_was_not_told() -> None:
    branch = Branch(path="config", mode=Mode.FALLBACK, children=(LEAF,))
    assert branch.on_status_codes is None  # every failure, not none of them
    assert branch.default is None  # no default, not the first child
    assert not branch.failover


def test_a_tree_is_shared_between_calls_so_it_never_changes() -> None:
    branch = Branch(path="config", mode=Mode.FALLBACK, children=(LEAF,), rules=(Rule(Query(), 0),))
    for value, field in ((branch, "children"), (branch.rules[0], "child"), (LEAF, "path")):
        with pytest.raises(AttributeError):
            setattr(value, field, None)
