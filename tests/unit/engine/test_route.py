from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.config.conditions import Facts, Query
from aiogateway.config.model import Mode
from aiogateway.config.tree import Branch, Rule, Tree
from aiogateway.engine.route import Note, Setback, find_leaves, walk
from aiogateway.errors import ConfigError
from aiogateway.types import CircuitRules, Target

Plan = Callable[[str], Tree]
"""A node that doesn't know its path yet."""

DOWN = Setback(status=503)
RULES = CircuitRules()


class Fixed:
    """A query that has made up its mind; keeps what it was asked."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked: list[Facts] = []

    def matches(self, facts: Facts) -> bool:
        self.asked.append(facts)
        return self.answer


def leaf(path: str) -> Target:
    return Target(path=path, provider="openai", circuit=RULES)


def bare(path: str) -> Target:
    """A leaf without circuit rules."""
    return Target(path=path, provider="openai")


def branch(mode: Mode, *plans: Plan, **fields: Any) -> Plan:
    def plant(path: str) -> Branch:
        children = tuple(plan(f"{path}.targets[{place}]") for place, plan in enumerate(plans))
        return Branch(path=path, mode=mode, children=children, **fields)

    return plant


def fallback(*plans: Plan, codes: Iterable[int] | None = None) -> Plan:
    return branch(Mode.FALLBACK, *plans, on_status_codes=None if codes is None else frozenset(codes))


def balance(
    *plans: Plan, weights: Sequence[float] = (), codes: Iterable[int] | None = None, failover: bool = False
) -> Plan:
    return branch(
        Mode.LOADBALANCE,
        *plans,
        weights=tuple(weights or [1.0] * len(plans)),
        on_status_codes=None if codes is None else frozenset(codes),
        failover=failover,
    )


def single(*plans: Plan) -> Plan:
    return branch(Mode.SINGLE, *plans)


def conditional(*plans: Plan, rules: Sequence[tuple[Fixed, int]] = (), default: int | None = None) -> Plan:
    made = tuple(Rule(query=cast("Query", query), child=child) for query, child in rules)
    return branch(Mode.CONDITIONAL, *plans, rules=made, default=default)


class Drive:
    """Walks a tree to its end; every target fails as `setbacks` says for its path, else with a 503."""

    def __init__(
        self,
        plan: Plan,
        setbacks: Mapping[str, Setback] | None = None,
        *,
        opens: Iterable[str] = (),
        draw: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.tree = plan("config")
        self.setbacks = setbacks or {}
        self.opens = set(opens)
        self.notes: list[Note] = []
        self.tried: list[str] = []
        self.looks = 0
        self.draw = draw

    def look(self) -> Facts:
        self.looks += 1
        return Facts(path="/v1/chat/completions")

    def run(self, on_yield: Callable[[Target], None] = lambda target: None) -> list[str]:
        steps = walk(self.tree, self.look, lambda target: target.path in self.opens, self.draw, self.notes)
        try:
            target = next(steps)
            while True:
                self.tried.append(target.path.removeprefix("config"))
                on_yield(target)
                target = steps.send(self.setbacks.get(target.path, DOWN))
        except StopIteration:
            return self.tried


def drive(plan: Plan, setbacks: Mapping[str, Setback] | None = None, **options: Any) -> list[str]:
    return Drive(plan, setbacks, **options).run()


T0, T1, T2 = (f".targets[{place}]" for place in range(3))
P0, P1, P2 = (f"config{path}" for path in (T0, T1, T2))


# ------------------------------------------------------------------------ order


def test_a_tree_of_one_target_is_tried_once_and_asks_for_nothing() -> None:
    walked = Drive(bare)
    assert walked.run() == [""]
    assert (walked.notes, walked.looks) == ([], 0)


def test_single_takes_its_first_child_only() -> None:
    assert drive(single(leaf, leaf)) == [T0]


def test_a_fallback_goes_through_its_children_in_order() -> None:
    walked = Drive(fallback(leaf, leaf, leaf))
    assert walked.run() == [T0, T1, T2]
    assert walked.notes == [Note(path, "tried", "") for path in (P0, P1, P2)]


def test_nothing_is_decided_before_it_is_asked_for() -> None:
    tree = fallback(leaf, leaf)("config")
    asked: list[str] = []
    notes: list[Note] = []

    def is_open(target: Target) -> bool:
        asked.append(target.path)
        return False

    steps = walk(tree, Facts, is_open, random.random, notes)
    next(steps)
    assert asked == [P0]
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("setback", "codes", "goes_on"),
    [
        (Setback(status=400), None, True),
        (Setback(status=503), None, True),
        (Setback(status=503), {429}, False),
        (Setback(status=429), {429}, True),
        (Setback(status=503), (), False),
        (Setback(status=408, connection=True), {429}, True),
        (Setback(status=502, connection=True), (), True),
        (Setback(status=400, policy=True), None, False),
        (Setback(status=400, policy=True), {429}, False),
        (Setback(status=400, policy=True), {400}, True),
        (Setback(status=502, broken=True), {429}, True),
        (Setback(status=502, broken=True), None, True),
        (Setback(status=504, final=True), None, False),
        (Setback(status=504, final=True), {504}, False),
        (Setback(status=502, final=True, connection=True, broken=True), None, False),
    ],
)
@pytest.mark.parametrize("failover", [False, True])
def test_what_a_failure_falls_through_on(
    setback: Setback, codes: Iterable[int] | None, goes_on: bool, failover: bool
) -> None:
    plan = balance(leaf, leaf, codes=codes, failover=True) if failover else fallback(leaf, leaf, codes=codes)
    walked = Drive(plan, {P0: setback})
    assert walked.run() == ([T0, T1] if goes_on else [T0])
    assert [note.path for note in walked.notes if note.verdict == "stopped"] == ([] if goes_on else ["config"])


@pytest.mark.parametrize(
    ("setback", "reason"),
    [
        (Setback(status=500), "500 is not in on_status_codes"),
        (Setback(status=400, policy=True), "400 is a content-policy rejection"),
        (Setback(status=504, final=True), "no other target could mend it"),
    ],
)
def test_a_stop_says_why(setback: Setback, reason: str) -> None:
    walked = Drive(fallback(leaf, leaf, codes=[429]), {P0: setback})
    walked.run()
    assert walked.notes[-1] == Note("config", "stopped", reason)


def test_a_nested_branch_is_judged_by_its_last_failure_and_by_its_parent() -> None:
    inner = fallback(leaf, leaf, codes=[429])
    assert drive(fallback(inner, leaf)) == [T0 + T0, T1]  # 503 stops the inner one; the outer one takes any
    assert drive(fallback(inner, leaf, codes=[429])) == [T0 + T0]
    seen = {f"{P0}.targets[0]": Setback(status=429), f"{P0}.targets[1]": Setback(status=500)}
    assert drive(fallback(inner, leaf, codes=[500]), seen) == [T0 + T0, T0 + T1, T1]


def test_a_final_failure_ends_every_level() -> None:
    deep = fallback(fallback(fallback(leaf, leaf), leaf), leaf)
    assert drive(deep, {f"{P0}.targets[0].targets[0]": Setback(status=504, final=True)}) == [T0 + T0 + T0]


def test_single_and_conditional_hand_a_failure_up() -> None:
    chosen = conditional(leaf, leaf, rules=[(Fixed(True), 1)], default=0)
    assert drive(fallback(single(leaf, leaf), chosen, leaf)) == [T0 + T0, T1 + T1, T2]


# ------------------------------------------------------------------ loadbalance


def test_a_loadbalance_tries_one_target_and_says_what_it_drew() -> None:
    walked = Drive(balance(leaf, leaf, leaf, weights=[1, 0.5, 2.5]), draw=lambda: 0.62)
    assert walked.run() == [T2]
    assert walked.notes == [Note(P2, "chosen", "weight 2.5 of 4, drew 0.62")]


@pytest.mark.parametrize(("drew", "expected"), [(0.0, T0), (0.2499, T0), (0.25, T2), (0.999, T2), (1 - 2**-53, T2)])
def test_a_draw_falls_where_its_weight_lies(drew: float, expected: str) -> None:
    assert drive(balance(leaf, leaf, leaf, weights=[1, 0, 3]), draw=lambda: drew) == [expected]


def test_rounding_never_leads_past_the_last_target() -> None:
    weights = [0.1] * 10
    plan = balance(*[leaf] * 10, weights=weights)
    assert drive(plan, draw=lambda: 1 - 2**-53) == [".targets[9]"]


def test_failover_draws_among_those_that_are_left() -> None:
    draws = iter([0.9, 0.1, 0.5])
    walked = Drive(balance(leaf, leaf, leaf, weights=[1, 1, 2], failover=True), draw=lambda: next(draws))
    assert walked.run() == [T2, T0, T1]
    assert [note.reason for note in walked.notes] == [
        "weight 2 of 4, drew 0.90",
        "weight 1 of 2, drew 0.10",
        "weight 1 of 1, drew 0.50",
    ]


def test_failover_never_goes_to_a_target_of_weight_zero() -> None:
    assert drive(balance(leaf, leaf, weights=[1, 0], failover=True)) == [T0]


def find_chi_squared(seen: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """Pearson's statistic of the counts against what the weights let expect."""
    total, all_seen = sum(weights.values()), sum(seen.values())
    assert seen.keys() <= weights.keys()
    return sum(
        (seen.get(path, 0) - all_seen * weight / total) ** 2 / (all_seen * weight / total)
        for path, weight in weights.items()
    )


CRITICAL = {1: 10.828, 2: 13.816, 3: 16.266, 4: 18.467}
"""Where chi-squared is exceeded once in a thousand, by degrees of freedom (any statistics textbook)."""


@pytest.mark.parametrize(
    "weights", [(1, 1), (2, 8), (1, 3, 6), (0.95, 0.05), (0.2, 0.3, 0.4, 0.1), (1e6, 2e6, 3e6, 4e6, 1)]
)
def test_weights_converge(weights: tuple[float, ...]) -> None:
    draw = random.Random(20240914).random
    plan = balance(*[leaf] * len(weights), weights=weights)
    wanted = {
        f".targets[{place}]": weight for place, weight in enumerate(weights) if weight * 20_000 > 5 * sum(weights)
    }
    seen = Counter(drive(plan, draw=draw)[0] for _ in range(20_000))
    seen = Counter({path: count for path, count in seen.items() if path in wanted})
    assert find_chi_squared(seen, wanted) < CRITICAL[len(wanted) - 1]


def test_the_statistic_notices_a_wrong_weight() -> None:
    draw = random.Random(20240914).random
    seen = Counter(drive(balance(leaf, leaf, weights=[2, 8]), draw=draw)[0] for _ in range(20_000))
    assert find_chi_squared(seen, {T0: 2.2, T1: 7.8}) > CRITICAL[1]


def test_what_is_drawn_after_a_failure_follows_the_weights_of_the_rest() -> None:
    draw = random.Random(7).random
    plan = balance(leaf, leaf, leaf, weights=[5, 1, 4], failover=True)
    seconds = Counter(order[1] for order in (drive(plan, draw=draw) for _ in range(20_000)) if order[0] == T0)
    assert find_chi_squared(seconds, {T1: 1, T2: 4}) < CRITICAL[1]


# ------------------------------------------------------------------ conditional


def test_the_first_condition_that_matches_decides_and_later_ones_are_not_asked() -> None:
    no, yes, never = Fixed(False), Fixed(True), Fixed(True)
    walked = Drive(conditional(leaf, leaf, leaf, rules=[(no, 0), (yes, 2), (never, 1)], default=0))
    assert walked.run() == [T2]
    assert walked.notes == [Note(P2, "chosen", "conditions[1] matched")]
    assert [facts.path for facts in no.asked] == ["/v1/chat/completions"]
    assert [id(facts) for facts in yes.asked] == [id(facts) for facts in no.asked]
    assert never.asked == []


def test_the_default_is_taken_when_nothing_matches() -> None:
    walked = Drive(conditional(leaf, leaf, rules=[(Fixed(False), 0)], default=1))
    assert walked.run() == [T1]
    assert walked.notes == [Note(P1, "chosen", "default")]


@pytest.mark.parametrize(
    ("plan", "path", "tried"),
    [
        (conditional(leaf, rules=[(Fixed(False), 0)]), "strategy", []),
        (fallback(leaf, conditional(leaf, rules=[(Fixed(False), 0)])), "targets[1].strategy", [T0]),
        (fallback(conditional(leaf), leaf), "targets[0].strategy", []),
        (balance(single(conditional(leaf, rules=[(Fixed(False), 0)]))), "targets[0].targets[0].strategy", []),
    ],
)
@pytest.mark.parametrize("opens", [False, True])
def test_neither_match_nor_default_is_the_callers_error(plan: Plan, path: str, tried: list[str], opens: bool) -> None:
    every = [target.path for target in find_leaves(plan("config"))]
    walked = Drive(plan, opens=every[-1:] if opens else ())
    with pytest.raises(ConfigError, match="did not resolve to any valid target") as caught:
        walked.run()
    assert (caught.value.path, caught.value.status) == (path, 400)
    assert walked.tried == tried


def test_facts_are_found_once_and_only_for_a_condition() -> None:
    inner = conditional(leaf, leaf, rules=[(Fixed(False), 0), (Fixed(True), 1)])
    walked = Drive(fallback(leaf, inner, conditional(leaf, rules=[(Fixed(False), 0)], default=0)))
    looks: list[int] = []
    walked.run(lambda target: looks.append(walked.looks))
    assert walked.tried == [T0, T1 + T1, T2 + T0]
    assert looks == [0, 1, 1]


def test_a_condition_is_asked_once_in_a_walk() -> None:
    query = Fixed(True)
    inner = conditional(leaf, leaf, rules=[(query, 0)], default=1)
    assert drive(fallback(inner, leaf), opens=[f"{P0}.targets[0]"]) == [T0 + T1, T1]
    assert len(query.asked) == 1


def test_an_undrawn_conditional_needs_no_facts_while_its_circuits_are_closed() -> None:
    walked = Drive(balance(conditional(leaf, rules=[(Fixed(True), 0)]), leaf, weights=[1, 1]), draw=lambda: 0.9)
    assert walked.run() == [T1]
    assert walked.looks == 0


# --------------------------------------------------------------------- circuits


def test_a_fallback_leaves_out_what_is_open() -> None:
    walked = Drive(fallback(leaf, leaf, leaf), opens=[P0, P2])
    assert walked.run() == [T1]
    assert walked.notes == [
        Note(P0, "skipped", "circuit open"),
        Note(P1, "tried", ""),
        Note(P2, "skipped", "circuit open"),
    ]


def test_a_circuit_is_asked_about_right_before_its_target_would_be_tried() -> None:
    walked = Drive(fallback(leaf, leaf, leaf), opens=[P2])

    def change(target: Target) -> None:
        walked.opens = {P1}

    assert walked.run(change) == [T0, T2]


def test_what_has_no_circuit_rules_is_never_asked_about() -> None:
    assert drive(fallback(bare, bare), opens=[P0, P1]) == [T0, T1]
    assert drive(bare, opens=["config"]) == [""]


def test_open_targets_are_out_of_the_draw() -> None:
    walked = Drive(balance(leaf, leaf, leaf, weights=[6, 1, 1]), opens=[P0], draw=lambda: 0.6)
    assert walked.run() == [T2]
    assert walked.notes == [Note(P0, "skipped", "circuit open"), Note(P2, "chosen", "weight 1 of 2, drew 0.60")]


def test_a_target_that_opens_during_failover_is_not_drawn() -> None:
    walked = Drive(balance(leaf, leaf, leaf, failover=True))
    assert walked.run(lambda target: walked.opens.add(P1)) == [T0, T2]


def test_failover_ends_when_the_rest_is_open() -> None:
    walked = Drive(balance(leaf, leaf, failover=True))
    assert walked.run(lambda target: walked.opens.update((P0, P1))) == [T0]


def test_a_fallback_whose_rest_opens_ends_without_a_bypass() -> None:
    walked = Drive(fallback(leaf, leaf))
    assert walked.run(lambda target: walked.opens.update((P0, P1))) == [T0]
    assert "bypassed" not in [note.verdict for note in walked.notes]


def test_a_condition_whose_target_is_open_is_passed_over() -> None:
    walked = Drive(conditional(leaf, leaf, rules=[(Fixed(True), 0), (Fixed(True), 1)]), opens=[P0])
    assert walked.run() == [T1]
    assert walked.notes == [
        Note(P0, "passed over", "conditions[0] matched, circuit open"),
        Note(P1, "chosen", "conditions[1] matched"),
    ]
    assert drive(conditional(leaf, leaf, leaf, rules=[(Fixed(True), 0), (Fixed(False), 1)], default=2), opens=[P0]) == [
        T2
    ]


@pytest.mark.parametrize(
    ("plan", "tried", "path"),
    [
        (fallback(leaf, leaf), [T0, T1], "config"),
        (balance(leaf, leaf, weights=[0, 1], failover=True), [T1], "config"),
        (balance(leaf, leaf, failover=True), [T0, T1], "config"),
        (single(leaf, leaf), [T0], "config"),
        (conditional(leaf, leaf, rules=[(Fixed(True), 1)], default=0), [T1], P1),
        (leaf, [""], "config"),
    ],
)
def test_circuits_are_bypassed_when_all_are_open(plan: Plan, tried: list[str], path: str) -> None:
    walked = Drive(plan, opens=[target.path for target in find_leaves(plan("config"))])
    assert walked.run() == tried
    assert [note.path for note in walked.notes if note.verdict == "bypassed"] == [path]


def test_a_target_of_weight_zero_keeps_no_branch_in_the_game() -> None:
    inner = balance(leaf, leaf, weights=[1, 0])
    assert drive(fallback(inner, leaf), opens=[f"{P0}.targets[0]"]) == [T1]


def test_what_no_condition_leads_to_keeps_no_branch_in_the_game() -> None:
    inner = conditional(leaf, leaf, rules=[(Fixed(True), 0), (Fixed(False), 1)])
    walked = Drive(fallback(inner, leaf), opens=[f"{P0}.targets[0]"])
    assert walked.run() == [T1]
    assert walked.notes[0] == Note(P0, "skipped", "circuit open")


def test_a_branch_is_open_when_all_that_it_could_use_is() -> None:
    inner = fallback(single(leaf, leaf), leaf)
    shut = [f"{P0}.targets[0].targets[0]", f"{P0}.targets[1]"]
    assert drive(fallback(inner, leaf), opens=shut) == [T1]
    assert drive(fallback(inner, leaf), opens=shut[:1]) == [T0 + T1, T1]
    assert drive(fallback(inner, leaf), opens=[*shut, P1]) == [T0 + T0 + T0, T0 + T1, T1]


# ------------------------------------------------------------------- any config


@st.composite
def draw_plan(draw: st.DrawFn, depth: int = 8, leaves: Sequence[Plan] = (leaf, leaf, bare)) -> Plan:
    """A node with at most `depth` levels, itself included; a branch has up to three children."""
    if depth == 1 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(leaves))
    count = draw(st.integers(1, 3))
    # one deep child is enough to reach the bottom; more would make 3^8 leaves
    deep = draw(st.integers(0, count - 1))
    plans = [draw(draw_plan(depth - 1 if place == deep else min(depth - 1, 2), leaves)) for place in range(count)]
    codes = draw(st.none() | st.sets(st.sampled_from([400, 429, 503]), max_size=2))
    mode = draw(st.sampled_from(Mode))
    if mode is Mode.FALLBACK:
        return fallback(*plans, codes=codes)
    if mode is Mode.LOADBALANCE:
        weights = draw(st.lists(st.sampled_from([0, 0.5, 1, 3]), min_size=count, max_size=count).filter(any))
        return balance(*plans, weights=weights, codes=codes, failover=draw(st.booleans()))
    if mode is Mode.CONDITIONAL:
        child = st.integers(0, count - 1)
        rules = draw(st.lists(st.tuples(st.builds(Fixed, st.booleans()), child), max_size=3))
        return conditional(*plans, rules=rules, default=draw(child if not rules else st.none() | child))
    return single(*plans)


SETBACKS = st.builds(
    Setback,
    status=st.sampled_from([400, 429, 503]),
    connection=st.booleans(),
    policy=st.booleans(),
    broken=st.booleans(),
    final=st.sampled_from([False] * 9 + [True]),
)


@given(plan=draw_plan(), data=st.data())
def test_no_leaf_is_tried_twice_and_every_walk_ends(plan: Plan, data: st.DataObject) -> None:
    paths = [target.path for target in find_leaves(plan("config"))]
    walked = Drive(
        plan,
        {path: data.draw(SETBACKS) for path in paths},
        opens=data.draw(st.sets(st.sampled_from(paths))),
        draw=random.Random(data.draw(st.integers(0, 2**32))).random,
    )
    try:
        tried = walked.run(
            lambda target: walked.opens.symmetric_difference_update(data.draw(st.sets(st.sampled_from(paths))))
        )
        assert tried  # a walk that is not the caller's error always tries something
    except ConfigError:
        tried = walked.tried
    assert len(tried) == len(set(tried))
    assert {f"config{path}" for path in tried} <= set(paths)
    assert walked.looks <= 1


def walk_quietly(plan: Plan, opens: Iterable[str], seed: int) -> list[str] | str:
    """The targets that are tried when all of them fail, or the path of the config's mistake."""
    try:
        return drive(plan, opens=opens, draw=random.Random(seed).random)
    except ConfigError as error:
        return error.path


@given(plan=draw_plan(leaves=(leaf,)), seed=st.integers(0, 2**32))
def test_all_open_is_as_if_none_were(plan: Plan, seed: int) -> None:
    every = [target.path for target in find_leaves(plan("config"))]
    walked = walk_quietly(plan, every, seed)
    # Where no condition matches there is nothing to be open: the way leads there, and to the request's error.
    assert isinstance(walked, str) or walked == walk_quietly(plan, (), seed)


def find_usable(tree: Tree) -> set[str]:
    """The leaves that a walk could reach if everything failed and nothing ended it."""
    if isinstance(tree, Target):
        return {tree.path}
    children = list(tree.children)
    if tree.mode is Mode.SINGLE:
        children = children[:1]
    elif tree.mode is Mode.LOADBALANCE:
        children = [child for child, weight in zip(children, tree.weights, strict=True) if weight]
    elif tree.mode is Mode.CONDITIONAL:
        matched = {rule.child for rule in tree.rules if cast("Fixed", rule.query).answer} | {tree.default}
        children = [child for place, child in enumerate(children) if place in matched]
    return set().union(*map(find_usable, children))


@given(plan=draw_plan(leaves=(leaf,)), data=st.data())
def test_no_open_target_is_tried_while_one_is_closed(plan: Plan, data: st.DataObject) -> None:
    usable = find_usable(plan("config"))
    opens = data.draw(st.sets(st.sampled_from([target.path for target in find_leaves(plan("config"))])))
    walked = Drive(plan, opens=opens)
    with contextlib.suppress(ConfigError):
        walked.run()
    if usable - opens:
        assert not {f"config{path}" for path in walked.tried} & opens
        assert "bypassed" not in [note.verdict for note in walked.notes]


def test_leaves_come_in_written_order() -> None:
    tree = fallback(balance(leaf, leaf), single(leaf))("config")
    assert [target.path for target in find_leaves(tree)] == [f"{P0}.targets[0]", f"{P0}.targets[1]", f"{P1}.targets[0]"]
