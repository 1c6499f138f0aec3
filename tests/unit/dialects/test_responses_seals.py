from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.dialects.responses_seals import PREFIX, Seal, mark, unmark, unwrap, wrap

TEXTS = st.none() | st.text(max_size=20)


@given(
    st.builds(Seal, signature=TEXTS, sealed=TEXTS, id=TEXTS, calls=st.dictionaries(st.text(), st.text(), max_size=2))
)
def test_a_seal_comes_back_as_it_went(seal: Seal) -> None:
    content = wrap(seal)
    assert unwrap(content) == seal
    assert content.isascii()
    assert unmark(content) is None


def test_the_envelope_is_the_documented_one() -> None:
    content = wrap(Seal(signature="EqQBCg"))
    assert base64.urlsafe_b64decode(content.removeprefix("aiogateway.1.")) == b'{"signature":"EqQBCg"}'


@pytest.mark.parametrize(
    "content", ["gAAAAABpPDIU", "", "aiogateway.2.e30=", PREFIX + "!", PREFIX + "e30", PREFIX + "W10="]
)
def test_what_is_no_envelope_of_ours_is_none(content: str) -> None:
    assert unwrap(content) is None


@pytest.mark.parametrize("identity", ["rs_1", None])
def test_a_providers_own_content_comes_back_to_its_kind(identity: str | None) -> None:
    assert unmark(mark("gAAA:AABp", identity)) == ("gAAA:AABp", identity)


@pytest.mark.parametrize("seal", [None, "", "EqQBCg", "gAAAAABp"])
def test_another_kinds_seal_is_not_taken(seal: str | None) -> None:
    assert unmark(seal) is None
