"""Which target is tried next: a pure function of the resolved config, the request's facts, the circuits and chance.

`walk` reads no clock and does no I/O; whoever drives it tries a target and sends back how that failed. Whether a
circuit is open is asked right before a target is handed out. The driver claims a half-open circuit's probe before it
awaits anything, so two walks can't both find the same probe free.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import msgspec

from ..config.conditions import Facts
from ..config.model import Mode
from ..config.tree import Branch, Tree
from ..errors import ConfigError
from ..types import Target


class Setback(msgspec.Struct, frozen=True, kw_only=True):
    """How a target failed, once its retries were spent; `status` is what the caller would get.

    `connection`: no connection, or our own first-token limit. `policy`: the provider refused the content.
    `broken`: the answer stopped after the commit, and the config wants it recovered. `final`: no other target
    can mend it: the call's time is over, the config or the gateway itself is at fault.
    """

    status: int
    connection: bool = False
    policy: bool = False
    broken: bool = False
    final: bool = False


class Note(NamedTuple):
    """One consideration of a walk, about the node at `path`.

    `verdict` is one of: tried (its turn came), chosen, skipped (its circuit is open), passed over (its condition
    matched, but its circuit is open), bypassed (open, but so is all else), stopped (a failure that leads no further).
    """

    path: str
    verdict: str
    reason: str


Steps = Generator[Target, Setback, Setback | None]
"""A part of a walk; returns its last setback, which is for the branch above to judge."""


def walk(
    tree: Tree,
    facts: Callable[[], Facts],
    is_open: Callable[[Target], bool],
    draw: Callable[[], float],
    notes: list[Note],
) -> Generator[Target, Setback, None]:
    """Yields the next target to try, is sent how it failed, returns when nothing is left. No target comes twice.

    `facts` is called at most once, and only when a condition has to be looked at; `is_open` only for targets that have
    circuit rules; `draw` gives random numbers in [0, 1). Every consideration is added to `notes`, except that a tree
    which is one target has nothing to consider.

    Raises ConfigError where no condition of a conditional branch matches and it has no default.
    """
    if isinstance(tree, Target):
        if tree.circuit is not None and is_open(tree):
            notes.append(Note(tree.path, "bypassed", "circuit open, and there is no other target"))
        yield tree
    else:
        yield from _Walk(facts, is_open, draw, notes).enter(tree)


def find_leaves(tree: Tree) -> Iterator[Target]:
    """All targets, in the order in which they are written."""
    if isinstance(tree, Target):
        yield tree
    else:
        for child in tree.children:
            yield from find_leaves(child)


def falls_through(branch: Branch, setback: Setback) -> bool:
    """Whether a failure under `branch` is worth another of its children."""
    if setback.final:
        return False
    if setback.connection or (setback.broken and not setback.policy):
        return True
    codes = branch.on_status_codes
    if codes is None:
        return not setback.policy
    return setback.status in codes


def _hand_out(target: Target) -> Steps:
    setback = yield target
    return setback


class _Walk:
    """One walk's state: what it was given, and which conditions were found to match."""

    __slots__ = ("_draw", "_facts", "_find_facts", "_matched", "_notes", "_target_open")

    def __init__(
        self,
        facts: Callable[[], Facts],
        is_open: Callable[[Target], bool],
        draw: Callable[[], float],
        notes: list[Note],
    ) -> None:
        self._find_facts = facts
        self._facts: Facts | None = None
        self._target_open = is_open
        self._draw = draw
        self._notes = notes
        self._matched: dict[tuple[str, int], bool] = {}

    def enter(self, node: Tree) -> Steps:
        """The steps below `node`, whose circuits are closed or bypassed."""
        if isinstance(node, Target):
            return _hand_out(node)
        if node.mode is Mode.FALLBACK:
            return self._fall_back(node)
        if node.mode is Mode.LOADBALANCE:
            return self._balance(node)
        child = self._select(node) if node.mode is Mode.CONDITIONAL else self._take_first(node)
        return self.enter(child)

    # ------------------------------------------------------------- strategies

    def _fall_back(self, branch: Branch) -> Steps:
        setback: Setback | None = None
        for bypass in (False, True):
            for child in branch.children:
                if setback is not None and not self._goes_on(branch, setback):
                    return setback
                if not bypass and self._is_open(child):
                    self._notes.append(Note(child.path, "skipped", "circuit open"))
                else:
                    self._note_turn(child)
                    setback = yield from self.enter(child)
            if setback is not None:
                break
            self._note_bypass(branch)
        return setback

    def _balance(self, branch: Branch) -> Steps:
        urn = [pair for pair in zip(branch.children, branch.weights, strict=True) if pair[1] > 0]
        closed = self._sift(urn)
        bypass = not closed
        if bypass:
            self._note_bypass(branch)
        else:
            urn = closed
        setback: Setback | None = None
        while urn:
            setback = yield from self.enter(self._draw_from(urn))
            if not (branch.failover and urn and setback is not None and self._goes_on(branch, setback)):
                break
            if not bypass:
                urn = self._sift(urn)
        return setback

    def _take_first(self, branch: Branch) -> Tree:
        child = branch.children[0]
        if self._is_open(child):
            self._note_bypass(branch)
        self._note_turn(child)
        return child

    def _sift(self, urn: list[tuple[Tree, float]]) -> list[tuple[Tree, float]]:
        """What may be drawn. What is left out once stays out for this walk."""
        closed = []
        for pair in urn:
            if self._is_open(pair[0]):
                self._notes.append(Note(pair[0].path, "skipped", "circuit open"))
            else:
                closed.append(pair)
        return closed

    def _draw_from(self, urn: list[tuple[Tree, float]]) -> Tree:
        """Takes one child out of `urn`, each as likely as its weight says."""
        total = sum([weight for _, weight in urn])
        drew = self._draw()
        point = drew * total
        place = 0
        last = len(urn) - 1  # where rounding leads when `drew` is next to 1
        while place < last and point >= urn[place][1]:
            point -= urn[place][1]
            place += 1
        child, weight = urn.pop(place)
        self._notes.append(Note(child.path, "chosen", f"weight {weight:g} of {total:g}, drew {drew:.2f}"))
        return child

    def _select(self, branch: Branch) -> Tree:
        """The child of the first condition that matches and whose circuit is closed; the first match if all are open.

        Raises ConfigError when nothing matches and there is no default.
        """
        first: tuple[str, Tree] | None = None
        for reason, child in self._match(branch):
            if not self._is_open(child):
                self._notes.append(Note(child.path, "chosen", reason))
                return child
            self._notes.append(Note(child.path, "passed over", f"{reason}, circuit open"))
            first = first or (reason, child)
        if first is None:
            raise ConfigError(
                "Query router did not resolve to any valid target: no condition matches this request, and the "
                "strategy has no default",
                path=f"{branch.path}.strategy".removeprefix("config."),
            )
        reason, child = first
        self._notes.append(Note(child.path, "bypassed", f"{reason}, and every circuit is open"))
        return child

    def _match(self, branch: Branch) -> Iterator[tuple[str, Tree]]:
        """The children that the conditions name, with the reason; the default comes last."""
        for number, rule in enumerate(branch.rules):
            if self._matches(branch, number):
                yield f"conditions[{number}] matched", branch.children[rule.child]
        if branch.default is not None:
            yield "default", branch.children[branch.default]

    def _matches(self, branch: Branch, number: int) -> bool:
        key = branch.path, number
        matched = self._matched.get(key)
        if matched is None:
            if self._facts is None:
                self._facts = self._find_facts()
            matched = self._matched[key] = branch.rules[number].query.matches(self._facts)
        return matched

    # --------------------------------------------------------------- circuits

    def _is_open(self, node: Tree) -> bool:
        """Whether every target that `node` could use is left out by its circuit."""
        if isinstance(node, Target):
            return node.circuit is not None and self._target_open(node)
        if node.mode is Mode.CONDITIONAL and not any(map(self._is_open, find_leaves(node))):
            return False  # known without a look at the request
        usable = list(self._find_usable(node))
        if not usable:  # no condition matches: the request's fault is not hidden behind a circuit
            return False
        return all(map(self._is_open, usable))

    def _find_usable(self, branch: Branch) -> Iterator[Tree]:
        if branch.mode is Mode.FALLBACK:
            yield from branch.children
        elif branch.mode is Mode.LOADBALANCE:
            yield from (child for child, weight in zip(branch.children, branch.weights, strict=True) if weight > 0)
        elif branch.mode is Mode.CONDITIONAL:
            yield from (child for _, child in self._match(branch))
        else:
            yield branch.children[0]

    # ------------------------------------------------------------------ notes

    def _note_turn(self, child: Tree) -> None:
        if isinstance(child, Target):  # a branch's own notes name it
            self._notes.append(Note(child.path, "tried", ""))

    def _note_bypass(self, branch: Branch) -> None:
        self._notes.append(Note(branch.path, "bypassed", "every circuit is open"))

    def _goes_on(self, branch: Branch, setback: Setback) -> bool:
        if falls_through(branch, setback):
            return True
        self._notes.append(Note(branch.path, "stopped", _say_why(setback)))
        return False


def _say_why(setback: Setback) -> str:
    """Why a failure leads no further."""
    if setback.final:
        return "no other target could mend it"
    if setback.policy:
        return f"{setback.status} is a content-policy rejection"
    return f"{setback.status} is not in on_status_codes"
