"""The wire formats that are part of the gateway."""

from __future__ import annotations

from collections.abc import Callable

from aiogateway.contracts import Dialect
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.dialects.openai_completions import OpenAICompletions
from aiogateway.dialects.openai_embeddings import OpenAIEmbeddings
from aiogateway.dialects.openai_responses import OpenAIResponses
from aiogateway.hookspecs import hookimpl


@hookimpl
def register_dialects(register: Callable[[Dialect], None]) -> None:
    register(OpenAIChat())
    register(OpenAICompletions())
    register(OpenAIEmbeddings())
    register(OpenAIResponses())
