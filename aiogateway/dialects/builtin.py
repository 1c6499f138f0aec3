"""The wire formats that are part of the gateway."""

from __future__ import annotations

from collections.abc import Callable

from aiogateway.contracts import Dialect
from aiogateway.dialects.anthropic import Anthropic, AnthropicTokens
from aiogateway.dialects.cohere_chat import CohereChat
from aiogateway.dialects.cohere_embeddings import CohereEmbeddings
from aiogateway.dialects.gemini import Gemini
from aiogateway.dialects.gemini_embeddings import GeminiEmbeddings
from aiogateway.dialects.mistral_chat import MistralChat
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.dialects.openai_completions import OpenAICompletions
from aiogateway.dialects.openai_embeddings import OpenAIEmbeddings
from aiogateway.dialects.openai_responses import OpenAIResponses
from aiogateway.hookspecs import hookimpl


@hookimpl
def register_dialects(register: Callable[[Dialect], None]) -> None:
    register(Anthropic())
    register(AnthropicTokens())
    register(CohereChat())
    register(CohereEmbeddings())
    register(Gemini())
    register(GeminiEmbeddings())
    register(MistralChat())
    register(OpenAIChat())
    register(OpenAICompletions())
    register(OpenAIEmbeddings())
    register(OpenAIResponses())
