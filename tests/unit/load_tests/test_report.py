"""Ratios, medians and tables of the load tests."""

from __future__ import annotations

import orjson
import pytest

from load_tests.report import Row, Sample, choose_yardstick, make_rows, write_json, write_markdown
from load_tests.scenarios import Scenario


def sample(contestant: str, number: int, errors: dict[str, int] | None = None, **values: float) -> Sample:
    return Sample("unary-64", contestant, number, values, errors or {})


def rows_by_name(samples: list[Sample]) -> dict[str, Row]:
    return {row.contestant: row for row in make_rows(samples)}


def test_a_ratio_is_taken_within_a_round_and_then_its_median() -> None:
    samples = [
        *(sample("nginx", number, cpu_us=cpu) for number, cpu in enumerate((10.0, 20.0, 40.0), 1)),
        *(sample("aiogateway", number, cpu_us=cpu) for number, cpu in enumerate((30.0, 40.0, 200.0), 1)),
    ]
    row = rows_by_name(samples)["aiogateway"]
    assert row.values["cpu_us"] == 40.0
    assert row.ranges["cpu_us"] == (30.0, 200.0)
    assert row.ratios["cpu_us"] == 3.0  # of 3, 2 and 5; the ratio of the medians would be 2


def test_latency_is_added_to_that_of_no_proxy_in_the_same_round() -> None:
    samples = [sample("direct", 1, p50_ms=1.0), sample("direct", 2, p50_ms=5.0)]
    samples += [sample("aiogateway", 1, p50_ms=3.0), sample("aiogateway", 2, p50_ms=7.0)]
    assert rows_by_name(samples)["aiogateway"].added["p50_ms"] == 2.0


def test_a_round_the_yardstick_lacks_gives_no_ratio() -> None:
    samples = [
        sample("nginx", 1, cpu_us=10.0),
        sample("aiogateway", 1, cpu_us=20.0),
        sample("aiogateway", 2, cpu_us=90.0),
    ]
    row = rows_by_name(samples)["aiogateway"]
    assert row.ratios["cpu_us"] == 2.0
    assert row.rounds == 2


def test_a_yardstick_of_zero_gives_no_ratio() -> None:
    assert (
        "cpu_us"
        not in rows_by_name([sample("nginx", 1, cpu_us=0.0), sample("aiogateway", 1, cpu_us=2.0)])["aiogateway"].ratios
    )


@pytest.mark.parametrize(
    ("contestants", "yardstick"), [({"direct", "nginx", "aiogateway"}, "nginx"), ({"direct", "aiogateway"}, "direct")]
)
def test_without_nginx_no_proxy_is_the_yardstick(contestants: set[str], yardstick: str) -> None:
    assert choose_yardstick(contestants) == yardstick


def test_errors_of_all_rounds_are_added_up_and_named() -> None:
    samples = [sample("aiogateway", 1, {"a stream without [DONE]": 2}, cpu_us=1.0)]
    samples += [sample("aiogateway", 2, {"a stream without [DONE]": 1, "status 502": 4}, cpu_us=1.0)]
    rows = make_rows(samples)
    text = write_markdown(rows, [Scenario("a", "unary-64")], {}, {})
    assert rows[0].errors == {"a stream without [DONE]": 3, "status 502": 4}
    assert "| 7 |" in text
    assert "- **unary-64, aiogateway**: 3 × a stream without [DONE]" in text


def test_the_table_shows_ratio_addition_and_who_was_skipped() -> None:
    samples = [
        sample("direct", 1, operations_per_s=2000.0, p50_ms=1.0, load_busy=0.99),
        sample("aiogateway", 1, operations_per_s=1000.0, cpu_us=50.0, p50_ms=3.5, load_busy=0.4),
    ]
    lines = write_markdown(make_rows(samples), [Scenario("a", "unary-64")], {"nginx": "not installed"}, {}).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert table[2] == "| unary-64 | direct | 2,000 (1.00×) | – | 1.00 | – | – | – | 99% (!) | 0 |"
    assert table[3] == "| unary-64 | aiogateway | 1,000 (0.50×) | 50.0 | 3.50 (+2.50) | – | – | – | 40% | 0 |"
    assert table[4].startswith("| all | nginx | skipped: not installed |")


def test_json_holds_rows_and_samples() -> None:
    samples = [sample("nginx", 1, cpu_us=10.0), sample("aiogateway", 1, cpu_us=20.0)]
    content = orjson.loads(write_json(samples, make_rows(samples), {"direct": "left out"}, {"rounds": 1}))
    assert content["facts"] == {"rounds": 1}
    assert content["skipped"] == {"direct": "left out"}
    assert content["samples"][1] == {
        "scenario": "unary-64",
        "contestant": "aiogateway",
        "round": 1,
        "values": {"cpu_us": 20.0},
        "errors": {},
    }
    assert content["rows"][1]["ratios"] == {"cpu_us": 2.0}
