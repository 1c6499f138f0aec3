"""What the load tests read from /proc."""

from __future__ import annotations

import os
import time

from load_tests.meter import cpu_seconds, find_tree, parse_stat, parse_status, peak_megabytes, resident_megabytes


def test_a_process_name_may_hold_spaces_and_parentheses() -> None:
    line = "42 (a (b) 7 c) S 17 42 42 0 -1 4194304 97 0 0 0 5 6 7 8 20 0 1 0 66149 3133440 394"
    assert parse_stat(line) == (17, 5 + 6 + 7 + 8)


def test_status_fields_are_kilobytes() -> None:
    text = "Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t    1500 kB\n"
    assert parse_status(text, "VmRSS") == 1500 * 1024
    assert parse_status(text, "VmSwap") == 0


def test_this_process_is_in_its_parents_tree() -> None:
    tree = find_tree(os.getppid())
    assert tree[0] == os.getppid()
    assert os.getpid() in tree


def test_cpu_time_grows_with_work() -> None:
    before, until = cpu_seconds([os.getpid()]), time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert 0.03 <= cpu_seconds([os.getpid()]) - before < 5


def test_the_peak_is_at_least_what_is_resident() -> None:
    own = [os.getpid()]
    assert 1 < resident_megabytes(own) <= peak_megabytes(own) + 1


def test_a_process_that_is_gone_counts_nothing() -> None:
    gone = [2**22 + 1]  # above the kernel's largest pid
    assert cpu_seconds(gone) == resident_megabytes(gone) == peak_megabytes(gone) == 0
