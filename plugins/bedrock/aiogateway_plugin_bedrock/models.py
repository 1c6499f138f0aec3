"""What a model's id says: whose model it is, and where it is asked.

Ids are of the forms of ``ConversationalModelId`` in the service model: ``anthropic.claude-…``, an inference profile
with its region before it (``us.anthropic.claude-…``), or an ARN that ends in one of these, or says nothing (an
application inference profile, a provisioned or imported model).
"""

from __future__ import annotations

from urllib.parse import quote

from aiogateway.dialects.anthropic_write import read_version
from aiogateway.errors import RequestError

_VENDORS = ("amazon", "anthropic", "cohere", "mistral", "openai")


def find_vendor(model: str) -> str:
    """The vendor in an id, if it is one whose models are treated in a way of their own; else empty."""
    labels = model.rpartition("/")[2].split(".")
    return next((label for label in labels[:2] if label in _VENDORS), "")


def is_claude(model: str) -> bool:
    return find_vendor(model) == "anthropic"


def can_think(model: str) -> bool:
    """Whether this is a Claude with extended thinking: from 3.7 on ("Extended thinking", Amazon Bedrock user guide)."""
    return is_claude(model) and read_version(model) >= (3, 7)


def make_path(model: str, operation: str) -> str:
    """The path of an operation, the id encoded as AWS's SDKs do it: their signature covers it so."""
    if not model.strip("."):
        raise RequestError("bedrock needs a model id, an inference profile or an ARN", param="model")
    return f"/model/{quote(model, safe='')}/{operation}"
