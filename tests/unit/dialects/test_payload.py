from __future__ import annotations

import pytest

from aiogateway.dialects.payload import as_count, as_dict, as_list, as_text, is_damaged, parse_json, parse_object


def test_json_is_parsed() -> None:
    assert parse_json('{"a":"ä💥"}'.encode()) == {"a": "ä💥"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a":"x\xffy"}', "x\ufffdy"),
        (b'{"a":"\xf0\x9f"}', "\ufffd"),
        (b'{"a":"\\ud83d"}', "\ufffd"),
        (b'{"a":"\\uD83D and \\ude00"}', "\ufffd and \ufffd"),
        (b'{"a":"\\ud83d\\ude00 \xff"}', "😀 \ufffd"),
    ],
)
def test_text_that_is_no_unicode_is_replaced(data: bytes, text: str) -> None:
    assert parse_object(data) == {"a": text}
    assert is_damaged(data)


@pytest.mark.parametrize("data", [b"", b"{", b'{"a":1}x', b'{"a":\xff}', b'{"a":"\\ud83d"', b"\xff"])
def test_what_is_no_json_stays_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - orjson's and json's messages differ
        parse_json(data)


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"x"'])
def test_an_object_is_wanted(data: bytes) -> None:
    with pytest.raises(ValueError, match="object"):
        parse_object(data)


def test_wrong_types_read_as_absent() -> None:
    assert (as_dict([]), as_dict({"a": 1})) == ({}, {"a": 1})
    assert (as_list({}), as_list([1])) == ([], [1])
    assert (as_text(1), as_text("x")) == (None, "x")
    assert (as_count("3"), as_count(True), as_count(3)) == (0, 0, 3)
