"""What every provider has to hold to, for Vertex AI."""

from __future__ import annotations

from pathlib import Path

from aiogateway_plugin_vertex import VertexAI

from aiogateway.testing import ProviderConformance


class TestVertexAI(ProviderConformance):
    provider = VertexAI()
    recordings = Path(__file__).parent / "recordings"
    options = {"vertex_project_id": "harbour", "vertex_region": "europe-west4"}  # noqa: RUF012
    skips = {"prefill": "whether a Gemini model goes on with its own last turn is not documented"}  # noqa: RUF012
