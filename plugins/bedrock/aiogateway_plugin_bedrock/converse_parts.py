"""Neutral parts that become Converse's blocks of bytes: images, documents, sounds, tool results.

Formats and the rules for a document's name: ``ImageFormat``, ``DocumentFormat``, ``AudioFormat`` and
``DocumentBlock$name`` in the service model. Blobs are base64 in JSON. Bedrock fetches nothing but from S3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiogateway.errors import Unsupported
from aiogateway.neutral import FilePart, ImagePart

_IMAGES = ("png", "jpeg", "gif", "webp")
_MAGIC = {"iVBORw0KGgo": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}  # first bytes, in base64
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_SOUNDS = frozenset(
    ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm")
)
_UNFIT = re.compile(r"[^A-Za-z0-9()\[\]\s-]")
_SPACES = re.compile(r"\s+")
_NAME_LIMIT = 180  # of 200, so that a number has room


def write_image(part: ImagePart, path: str) -> dict[str, Any]:
    """Raises Unsupported, naming `path`, for a URL and for a format that Converse does not know."""
    source = _write_source(part.data, part.url, "images", path)
    kind = (part.media_type or "").removeprefix("image/")
    if kind not in _IMAGES:
        known = "jpeg" if kind == "jpg" else next((k for m, k in _MAGIC.items() if (part.data or "").startswith(m)), "")
        kind = known or _find_suffix(part.url, ("jpg", *_IMAGES)).replace("jpg", "jpeg")
    if not kind:
        raise Unsupported(f"Bedrock takes images as png, jpeg, gif or webp, not {part.media_type}", param=path)
    return {"image": {"format": kind, "source": source}}


class DocumentWriter:
    """Documents of one request: their names have to differ."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def write(self, part: FilePart, path: str) -> dict[str, Any]:
        """Raises Unsupported, naming `path`."""
        if part.id is not None:
            raise Unsupported("Bedrock keeps no uploaded files: send the file's data", param=path)
        source = _write_source(part.data, part.url, "files", path)
        endings = tuple(dict.fromkeys(_DOCUMENTS.values()))
        kind = _DOCUMENTS.get((part.media_type or "").partition(";")[0].strip().lower())
        kind = kind or _find_suffix(part.name, endings) or _find_suffix(part.url, endings)
        if not kind:
            raise Unsupported(f"Bedrock takes files as {', '.join(endings)}, not {part.media_type}", param=path)
        return {"document": {"format": kind, "name": self._name(part.name), "source": source}}

    def _name(self, given: str | None) -> str:
        stem = (given or "").rpartition("/")[2]
        stem = stem.rpartition(".")[0] or stem
        base = _SPACES.sub(" ", _UNFIT.sub("-", stem)).strip()[:_NAME_LIMIT] or "Document"
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base} ({number})"
        self._names.add(name)
        return name


def write_audio(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """OpenAI's ``input_audio`` part; None when it is none, or of a format that Converse does not know."""
    audio = data.get("input_audio")
    if not isinstance(audio, Mapping) or audio.get("format") not in _SOUNDS or not isinstance(audio.get("data"), str):
        return None
    return {"audio": {"format": audio["format"], "source": {"bytes": audio["data"]}}}


def _write_source(data: str | None, url: str | None, what: str, path: str) -> dict[str, Any]:
    if data is not None:
        return {"bytes": data}
    if url is not None and url.startswith("s3://"):
        return {"s3Location": {"uri": url}}
    shown = (url or "")[:200]
    raise Unsupported(f"Bedrock takes {what} as base64 data or from S3, not by URL: {shown}", param=path)


def _find_suffix(name: str | None, known: tuple[str, ...]) -> str:
    ending = (name or "").rpartition(".")[2].lower()
    return ending if ending in known else ""
