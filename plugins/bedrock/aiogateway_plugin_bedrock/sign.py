"""AWS Signature Version 4 by botocore's signer, and bearers."""

from __future__ import annotations

import asyncio
import logging

from botocore.auth import SigV4Auth  # type: ignore[import-untyped,import-not-found,unused-ignore]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped,import-not-found,unused-ignore]
from botocore.credentials import Credentials  # type: ignore[import-untyped,import-not-found,unused-ignore]

from aiogateway.providers.base import check_header
from aiogateway.types import Headers, Secret, UpstreamRequest
from aiogateway_plugin_bedrock.identity import Keys

logging.getLogger("botocore").setLevel(logging.INFO)  # its debug lines hold session tokens

SERVICE = "bedrock"

LARGE = 1 << 20
"""Bytes of a body from which on its hash is made in a thread: 1 MiB takes a millisecond or more."""

_SIGNED = ("content-type",)  # beside the host and what the signature adds; anything else may change on the way


async def sign(request: UpstreamRequest, keys: Keys, *, region: str, service: str = SERVICE) -> UpstreamRequest:
    """The request with its signature, in place of whatever stood there. The URL is signed as it is sent."""
    if len(request.body) > LARGE:
        headers = await asyncio.to_thread(make_signature, request, keys, region, service)
    else:
        headers = make_signature(request, keys, region, service)
    return add_headers(request, headers)


def make_signature(request: UpstreamRequest, keys: Keys, region: str, service: str) -> Headers:
    """The headers of a signature: authorization, x-amz-date, and x-amz-security-token for a temporary key."""
    given = {name: value for name, value in request.headers if name in _SIGNED}
    signed = AWSRequest(method=request.method, url=request.url, data=request.body, headers=dict(given))
    token = keys.token.reveal() if keys.token is not None else None
    SigV4Auth(Credentials(keys.id, keys.secret.reveal(), token), service, region).add_auth(signed)
    made = ((str(name).lower(), str(value)) for name, value in signed.headers.items())
    return tuple((name, check_header(value, "aws_access_key_id")) for name, value in made if name not in given)


def add_bearer(request: UpstreamRequest, secret: Secret, source: str) -> UpstreamRequest:
    return add_headers(request, (("authorization", f"Bearer {check_header(secret.reveal(), source)}"),))


def add_headers(request: UpstreamRequest, headers: Headers) -> UpstreamRequest:
    """`headers` in place of those of the same names; what is left holds nothing but the request."""
    names = {name for name, _ in headers}
    kept = tuple(pair for pair in request.headers if pair[0] not in names)
    return UpstreamRequest(method=request.method, url=request.url, headers=kept + headers, body=request.body)
