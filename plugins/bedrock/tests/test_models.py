from __future__ import annotations

import pytest
from aiogateway_plugin_bedrock.models import can_think, find_vendor, is_claude, make_path

from aiogateway.errors import RequestError


@pytest.mark.parametrize(
    ("model", "vendor"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic"),
        ("us.anthropic.claude-sonnet-4-6", "anthropic"),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic"),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", "anthropic"),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.amazon.nova-2-lite-v1:0", "amazon"),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", ""),
        ("openai.gpt-5.6", "openai"),
        ("meta.llama3-8b-instruct-v1:0", ""),
        ("m", ""),
    ],
)
def test_whose_model_it_is(model: str, vendor: str) -> None:
    assert find_vendor(model) == vendor
    assert is_claude(model) is (vendor == "anthropic")


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", False),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", True),
        ("us.anthropic.claude-opus-4-20250514-v1:0", True),
        ("anthropic.claude-fable-5-1", True),
        ("amazon.nova-2-lite-v1:0", False),
        ("deepseek.r1-v1:0", False),
    ],
)
def test_which_claudes_think(model: str, thinks: bool) -> None:
    assert can_think(model) is thinks


def test_a_path_holds_the_id_as_one_segment() -> None:
    assert make_path("us.amazon.nova-lite-v1:0", "converse") == "/model/us.amazon.nova-lite-v1%3A0/converse"
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    encoded = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc"
    assert make_path(arn, "invoke") == f"/model/{encoded}/invoke"
    assert make_path("a/../b?c#d", "invoke") == "/model/a%2F..%2Fb%3Fc%23d/invoke"


@pytest.mark.parametrize("model", ["", ".", ".."])
def test_a_path_does_not_climb(model: str) -> None:
    with pytest.raises(RequestError, match="model id"):
        make_path(model, "converse")
