"""What every provider has to hold to, for Azure OpenAI: by its v1 path, and by the paths of dated versions."""

from __future__ import annotations

from pathlib import Path

from aiogateway.providers.azure import AzureOpenAI
from aiogateway.testing import ProviderConformance
from aiogateway.types import Target


class TestAzureOpenAI(ProviderConformance):
    provider = AzureOpenAI()
    recordings = Path(__file__).parent / "recordings" / "azure"
    options = {"resource_name": "harbour"}  # noqa: RUF012
    skips = {  # noqa: RUF012
        "prefill": "OpenAI's models answer a trailing assistant message instead of going on from it",
    }


class TestDatedAzureOpenAI(TestAzureOpenAI):
    options = {"resource_name": "harbour", "deployment_id": "pilot", "api_version": "2024-10-21"}  # noqa: RUF012

    def test_passthrough_keeps_method_and_query(self) -> None:
        """The version is added to the query, so it is not the client's alone."""
        target = Target(path="config", provider=self.provider.name, options=self.options)
        upstream = self.provider.passthrough("GET", "/v1/files/f-1?limit=2&a=%2F%20b", (), target)
        assert upstream is not None
        assert upstream.url == (
            "https://harbour.openai.azure.com/openai/files/f-1?limit=2&a=%2F%20b&api-version=2024-10-21"
        )
