from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.config.conditions import MAX_CLAUSES, Facts, find_contradiction, parse_query
from aiogateway.errors import ConfigError

FACTS = Facts(
    metadata={"plan": "paid", "_user": "u", "age": "42", "a.b": 1, "none": None, "level": 7},
    params={
        "model": "gpt-4o",
        "temperature": 0.5,
        "stream": True,
        "messages": [{"role": "system"}, {"role": "user", "content": [{"type": "text"}]}],
        "response_format": {"type": "json_schema", "json_schema": {"strict": True}},
    },
    path="/v1/chat/completions",
    headers={"x-region": "eu", "x.dotted": "1"},
)


def matches(query: Any, facts: Facts = FACTS) -> bool:
    return parse_query(query, "query").matches(facts)


def mistakes(query: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_query(query, "query")
    return [str(error) for error in caught.value.errors or (caught.value,)]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"metadata.plan": "paid"},
        {"metadata.plan": {"$eq": "paid"}},
        {"metadata.a.b": 1},
        {"metadata.age": {"$gt": 18, "$lte": "42"}},
        {"metadata.absent": None},
        {"metadata.none": None},
        {"metadata.absent": {"$ne": "x"}},
        {"metadata.absent": {"$nin": ["x"]}},
        {"metadata.absent.deeper": {"$ne": "x"}},
        {"metadata.plan": {"$in": ["free", "paid"], "$nin": ["trial"]}},
        {"params.model": {"$regex": "^gpt-"}},
        {"params.model": {"$regex": "^gpt-", "$ne": "gpt-3"}},
        {"params.temperature": {"$lt": 1}},
        {"params.stream": True},
        {"params.response_format.type": "json_schema"},
        {"params.response_format.json_schema.strict": True},
        {"params.response_format": {"$eq": {"type": "json_schema", "json_schema": {"strict": True}}}},
        {"params.messages.0.role": "system"},
        {"params.messages.1.content.0.type": "text"},
        {"params.messages.2.role": None},
        {"url.pathname": "/v1/chat/completions"},
        {"headers.x-region": "eu"},
        {"headers.X-Region": {"$in": ["eu"]}},
        {"headers.x.dotted": "1"},
        {"$or": [{"metadata.plan": "free"}, {"params.stream": True}]},
        {"$and": [{"metadata.plan": "paid"}, {"$or": [{"metadata.age": "1"}, {"metadata.age": "42"}]}]},
        {"metadata.plan": "paid", "$or": [{"params.stream": True}], "url.pathname": {"$regex": "chat"}},
    ],
)
def test_what_matches(query: Any) -> None:
    assert matches(query)


@pytest.mark.parametrize(
    "query",
    [
        {"metadata.plan": "free"},
        {"metadata.plan": None},
        {"metadata.plan": {"$ne": "paid"}},
        {"metadata.level": "7"},
        {"metadata.absent": {"$gt": 0}},
        {"metadata.absent": {"$regex": ""}},
        {"metadata.absent": {"$ne": None}},
        {"metadata.absent": {"$in": []}},
        {"metadata.plan.deeper": "paid"},
        {"params.model": {"$regex": "^gpt-", "$eq": "gpt-3"}},  # Portkey's router stops at the $regex
        {"params.model": {"$eq": "gpt-3", "$regex": "^gpt-"}},
        {"params.stream": 1},
        {"params.messages.1.role": "system"},
        {"params.messages.-1.role": "user"},
        {"params.messages.9999999999999999.role": "user"},
        {f"params.messages.{'9' * 5000}.role": "user"},
        {"params.messages.٠.role": "system"},
        {"params.temperature": {"$gt": 0, "$lt": 0.5}},
        {"url.pathname": "/v1/embeddings"},
        {"headers.x-other": "eu"},
        {"metadata.plan": "paid", "params.stream": False},
        {"$or": [{"metadata.plan": "free"}, {"params.stream": False}]},
        {"$and": [{"metadata.plan": "paid"}, {"params.stream": False}]},
    ],
)
def test_what_does_not_match(query: Any) -> None:
    assert not matches(query)


def test_a_name_with_dots_comes_before_a_path() -> None:
    facts = Facts(params={"a.b": 1, "a": {"b": 2}})
    assert matches({"params.a.b": 1}, facts)
    assert not matches({"params.a.b": 2}, facts)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ([], ['query: must be an object such as {"metadata.plan": "paid"}, got an empty list']),
        ({"model": "x"}, [
            "query.model: is nothing that a query can ask (there are: metadata.<key>, params.<field>, url.pathname, "
            "headers.<name>)"
        ]),
        ({"metadta.plan": "x"}, [
            "query.metadta.plan: is nothing that a query can ask; did you mean 'metadata'? (there are: "
            "metadata.<key>, params.<field>, url.pathname, headers.<name>)"
        ]),
        ({"url.host": "x", "params.": 1, "headers": 2}, ["query.url.host", "query.params.", "query.headers"]),
        ({"headers.authorization": "x"}, ["query.headers.authorization: is a header that conditions don't get to see"]),
        ({"headers.X-Portkey-Trace-Id": "x"}, ["query.headers.X-Portkey-Trace-Id: is a header that conditions don't"]),
        ({"metadata.plan": {"$foo": 1}}, [
            "query.metadata.plan.$foo: is not an operator (there are: $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, "
            "$regex)"
        ]),
        ({"metadata.plan": {"$equ": 1}}, ["query.metadata.plan.$equ: is not an operator; did you mean '$eq'?"]),
        ({"params.format": {"type": "x"}}, [
            "query.params.format.type: is not an operator (there are: $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, "
            '$regex); to compare with an object, write {"$eq": {…}}'
        ]),
        ({"metadata.plan": {}}, ["query.metadata.plan: is an empty object: it needs an operator (there are: $eq, "]),
        ({"$eq": 1}, ['query.$eq: belongs inside a key: {"metadata.plan": {"$eq": …}}']),
        ({"$not": []}, ["query.$not: is not an operator over queries (there are: $and, $or)"]),
        ({"$ands": []}, ["query.$ands: is not an operator over queries; did you mean '$and'?"]),
        ({"$or": []}, ["query.$or: must be a list of at least one query, got an empty list"]),
        ({"$and": {"params.a": 1}}, ["query.$and: must be a list of at least one query, got an object"]),
        ({"$or": [{}, 5]}, [
            "query.$or[0]: is empty, so it matches everything: leave it out",
            "query.$or[1]: must be an object such as",
        ]),
        ({"metadata.a b\n": {"$foo": 1}}, [r"query.'metadata.a b\n'.$foo: is not an operator"]),
        ({"metadata.n": {"$gt": "x", "$in": 5, "$regex": "("}, "$or": [{"x": 1}]}, [
            "query.metadata.n.$gt: must be a number, got 'x'",
            "query.metadata.n.$in: must be a list of values, got 5",
            "query.metadata.n.$regex: is not a pattern: missing ) at position 1 of '('",
            "query.$or[0].x: is nothing that a query can ask",
        ]),
    ],
)  # fmt: skip
def test_every_mistake_is_named(query: Any, expected: list[str]) -> None:
    found = mistakes(query)
    assert len(found) == len(expected)
    assert all(one.startswith(start) for one, start in zip(found, expected, strict=True)), found


def nest(levels: int) -> dict[str, Any]:
    query: dict[str, Any] = {"params.a": 1}
    for level in range(levels):
        query = {("$and", "$or")[level % 2]: [query]}
    return query


def test_depth_is_bounded() -> None:
    assert not matches(nest(8))
    (found,) = mistakes(nest(9))
    assert found.endswith("is nested too deep: at most 8 levels of $and and $or")
    assert len(mistakes(nest(90))) == 1


def test_the_number_of_comparisons_is_bounded() -> None:
    at_most: dict[str, Any] = {"$or": [{f"params.f{n}": {"$gt": 1, "$lt": 2}} for n in range(MAX_CLAUSES // 2)]}
    assert not matches(at_most)
    at_most["params.one"] = 1
    assert mistakes(at_most) == ["query: holds 65 comparisons, at most 64"]
    # What comes after is counted and not looked at: compiling patterns takes time.
    assert mistakes({f"params.f{n}": {"$regex": "(" * (n >= MAX_CLAUSES)} for n in range(9999)}) == [
        "query: holds 9999 comparisons, at most 64"
    ]


def test_a_query_is_shared_and_not_changed() -> None:
    raw = {"metadata.plan": {"$in": ["paid"]}}
    query = parse_query(raw, "query")
    with pytest.raises(AttributeError):
        query.parts = ()  # type: ignore[misc]
    assert [query.matches(FACTS) for _ in range(3)] == [True] * 3
    assert raw == {"metadata.plan": {"$in": ["paid"]}}
    assert query == parse_query(json.loads(json.dumps(raw)), "query")


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ({}, "anything"),
        ({"metadata.plan": "paid"}, 'metadata.plan $eq "paid"'),
        ({"metadata.a": {"$gt": 1, "$lt": "2"}, "url.pathname": "/x"},
         'metadata.a $gt 1 and metadata.a $lt "2" and url.pathname $eq "/x"'),
        ({"$and": [{"params.a": None}, {"params.b": {"$in": [1, True]}}]},
         "params.a $eq null and params.b $in [1, true]"),
        ({"params.a": 1, "$or": [{"params.b": 2}, {"params.c": 3, "params.d": 4}]},
         "params.a $eq 1 and (params.b $eq 2 or (params.c $eq 3 and params.d $eq 4))"),
        ({'params.é"\n': "ü\r"}, r'params.\u00e9\"\n $eq "\u00fc\r"'),
        ({"params.a": {"$ne": "x" * 100}}, f'params.a $ne "{"x" * 79}...'),
    ],
)  # fmt: skip
def test_describe(query: Any, line: str) -> None:
    assert parse_query(query, "query").describe() == line
    assert line.isascii()
    assert line.isprintable()


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"metadata.a": {"$in": []}}, "nothing can be metadata.a $in []"),
        ({"$and": [{"metadata.a": "x"}, {"metadata.a": "y"}]},
         'nothing can be metadata.a $eq "x" and metadata.a $eq "y"'),
        ({"params.a": {"$gt": 5, "$lt": 3}}, "nothing can be params.a $gt 5 and params.a $lt 3"),
        ({"params.a": {"$gt": 5, "$lte": "5"}}, 'nothing can be params.a $gt 5 and params.a $lte "5"'),
        ({"params.a": {"$gte": 5, "$lt": 5}}, "nothing can be params.a $gte 5 and params.a $lt 5"),
        ({"params.a": {"$eq": "x", "$regex": "^y"}}, 'nothing can be params.a $eq "x" and params.a $regex "^y"'),
        ({"params.a": {"$eq": "x", "$gt": 1}}, 'nothing can be params.a $eq "x" and params.a $gt 1'),
        ({"params.a": {"$in": [1, 2], "$nin": [2, 1]}}, "nothing can be params.a $in [1, 2] and params.a $nin [2, 1]"),
        ({"params.a": {"$eq": "x", "$ne": "x"}}, 'nothing can be params.a $eq "x" and params.a $ne "x"'),
        ({"metadata.a": {"$eq": {"b": 1}}}, 'nothing can be metadata.a $eq {"b": 1}'),
        ({"url.pathname": None}, "nothing can be url.pathname $eq null"),
        ({"headers.x": 5}, "nothing can be headers.x $eq 5"),
        ({"params.a": 1, "$or": [{"params.a": 2}, {"params.b": {"$in": []}}]},
         "nothing can be params.a $eq 1 and params.a $eq 2; nothing can be params.b $in []"),
    ],
)  # fmt: skip
def test_queries_that_can_never_match(query: Any, reason: str) -> None:
    assert find_contradiction(parse_query(query, "query")) == reason


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"metadata.a": None},
        {"headers.x": None},
        {"metadata.a": {"$in": ["x", "y"], "$ne": "x"}},
        {"params.a": {"$gte": 5, "$lte": 5}},
        {"params.a": {"$gt": 3, "$lt": 4}},
        {"params.a": {"$gt": 5, "$regex": "x"}},
        {"params.a": {"$eq": [1]}},
        {"params.a": {"$eq": "6", "$gt": 5, "$regex": "6"}},
        {"params.a": 1, "params.b": 2},
        {"$or": [{"params.a": {"$in": []}}, {"params.a": 1}]},
    ],
)
def test_queries_that_may_match(query: Any) -> None:
    assert find_contradiction(parse_query(query, "query")) is None


# --------------------------------------------------------- against a naive reading

NAMES = ["a", "b", "a.b", "0", "a.0"]
VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["x", "xy", "2", "-1.5", ""]) | st.just(1.0)
)
OPERANDS: dict[str, st.SearchStrategy[Any]] = {
    "$eq": VALUES,
    "$ne": VALUES,
    **dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), st.integers(-3, 3) | st.sampled_from(["2", "-1.5"])),
    **dict.fromkeys(("$in", "$nin"), st.lists(VALUES, max_size=3)),
    "$regex": st.sampled_from(["x", "^x$", "", r"\d", "y$"]),
}
PARAMS: st.SearchStrategy[Any] = st.dictionaries(
    st.sampled_from(NAMES), VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.sampled_from(NAMES), VALUES)
)
KEYS = st.sampled_from([f"params.{name}" for name in NAMES] + [f"metadata.{name}" for name in NAMES] + ["headers.X"])
TESTS = VALUES | st.lists(st.sampled_from(list(OPERANDS)), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: OPERANDS[name] for name in names})
)
QUERIES: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(KEYS, TESTS, min_size=1, max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3), min_size=1
    ),
    max_leaves=5,
)


def naive(query: dict[str, Any], facts: Facts) -> bool:
    for key, value in query.items():
        if key == "$and":
            holds = all(naive(one, facts) for one in value)
        elif key == "$or":
            holds = any(naive(one, facts) for one in value)
        else:
            tests = value if isinstance(value, dict) else {"$eq": value}
            holds = all(naive_test(naive_find(key, facts), name, operand) for name, operand in tests.items())
        if not holds:
            return False
    return True


def naive_find(key: str, facts: Facts) -> Any:
    place, _, name = key.partition(".")
    value: Any = {"params": facts.params, "metadata": facts.metadata, "headers": facts.headers}[place]
    if place == "headers":
        name = name.lower()
    if name in value:
        return value[name]
    for step in name.split("."):
        if isinstance(value, list):
            value = dict(enumerate(value)).get(int(step)) if step.isdigit() else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def naive_test(value: Any, name: str, operand: Any) -> bool:
    def same(one: Any, other: Any) -> bool:
        return orjson.dumps(one).removesuffix(b".0") == orjson.dumps(other).removesuffix(b".0")

    def number(one: Any) -> float:
        if isinstance(one, str):
            return float(one) if re.fullmatch(r"-?\d+(\.\d+)?", one) else math.nan
        return math.nan if one is None or isinstance(one, bool | list | dict) else float(one)

    left, right = number(value), number(operand)
    return {
        "$eq": lambda: same(value, operand),
        "$ne": lambda: not same(value, operand),
        "$gt": lambda: left > right,
        "$gte": lambda: left >= right,
        "$lt": lambda: left < right,
        "$lte": lambda: left <= right,
        "$in": lambda: any(same(value, one) for one in operand),
        "$nin": lambda: not any(same(value, one) for one in operand),
        "$regex": lambda: isinstance(value, str) and bool(re.search(operand, value)),
    }[name]()


@given(QUERIES, PARAMS, st.dictionaries(st.sampled_from(NAMES), VALUES), st.dictionaries(st.just("x"), st.text("xy2")))
def test_as_a_naive_reading_has_it(query: Any, params: Any, metadata: Any, headers: Any) -> None:
    facts = Facts(params=params, metadata=metadata, headers=headers)
    parsed = parse_query(query, "query")
    matched = parsed.matches(facts)
    assert matched is naive(query, facts)
    assert not (matched and find_contradiction(parsed))
    assert parsed.matches(msgspec.structs.replace(facts)) is matched
    line = parsed.describe()
    assert line.isascii()
    assert line.isprintable()


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["$and", "$or", "$eq", "$in", "$regex", "$gt", "params.a", "metadata.a", "headers.", "url.pathname"]
            )
            | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JUNK, JUNK)
def test_no_query_breaks_anything(raw: Any, value: Any) -> None:
    with contextlib.suppress(ConfigError):
        query = parse_query(raw, "query")
        assert query.matches(Facts(params={"a": value}, metadata={"a": value})) in (True, False)
        find_contradiction(query)
