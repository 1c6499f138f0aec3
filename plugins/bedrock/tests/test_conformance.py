"""What every provider has to hold to, for Bedrock."""

from __future__ import annotations

from pathlib import Path

from aiogateway_plugin_bedrock import Bedrock

from aiogateway.testing import ProviderConformance
from aiogateway.types import Secret

PREFILL = "Claude's newer generations refuse an assistant's last turn, and Converse has no field to ask for it"


class TestBedrockWithAnApiKey(ProviderConformance):
    provider = Bedrock()
    recordings = Path(__file__).parent / "recordings"
    skips = {"prefill": PREFILL}  # noqa: RUF012


class TestBedrockWithAccessKeys(ProviderConformance):
    """The signature is made of the target's options: its credential is a dummy that must not be sent."""

    provider = Bedrock()
    recordings = Path(__file__).parent / "recordings"
    skips = {"prefill": PREFILL, "credential": "the access key in the options signs"}  # noqa: RUF012
    options = {  # noqa: RUF012
        "aws_access_key_id": "AKIDEXAMPLE",
        "aws_secret_access_key": Secret("wJalrXUtnFEMI"),
        "aws_region": "eu-west-1",
    }
