"""Plans and reports cross a process border unchanged."""

from __future__ import annotations

from load_tests.plan import Plan, Report


def test_a_plan_survives() -> None:
    plan = Plan("http://127.0.0.1:1/v1", {"a": "b"}, "paced", 10, 0.5, 100, 50, True, [1, 2], [3], "/ca.pem")
    assert Plan.load(plan.dump()) == plan


def test_a_report_survives() -> None:
    report = Report({"cpu_us": 1.5}, {"status 502: x": 3})
    assert Report.load(report.dump()) == report
