"""Assumed roles: AssumeRole of AWS STS, over the session for side calls.

Source: STS API reference, AssumeRole: a form in, XML out, whose values
that matter are elements of text that occur once.
"""

from __future__ import annotations

import hashlib
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import aiohttp

from aiogateway.errors import ConnectFailed, UpstreamError, UpstreamStatus
from aiogateway.types import Secret, UpstreamRequest
from aiogateway_plugin_bedrock.identity import Keys, Role
from aiogateway_plugin_bedrock.leases import Lease
from aiogateway_plugin_bedrock.sign import sign

if TYPE_CHECKING:
    from aiohttp import ClientSession

SESSION = "aiogateway"
PATIENCE = 10.0  # seconds for one answer of STS
EARLY = 300.0  # seconds before their end that keys are renewed
LAST = 60.0  # seconds before their end that keys are no longer used
LIMIT = 1 << 16  # bytes of an answer

_ELEMENT = re.compile(rb"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration|Code)>([^<]+)</\1>")
_CODE = re.compile(r"[A-Za-z.]{1,64}")


def find_url(region: str) -> str:
    """The region's own endpoint."""
    return f"https://sts.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}/"


def make_key(keys: Keys, role: Role, region: str) -> bytes:
    """What tells assumed roles apart, without holding a secret."""
    token = keys.token.reveal() if keys.token is not None else ""
    parts = (keys.id, keys.secret.reveal(), token, role.arn, role.external_id or "", region)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


async def assume(keys: Keys, role: Role, *, url: str, region: str, http: ClientSession) -> Lease[Keys]:
    """Temporary keys of the role. Raises UpstreamError.

    The message has STS's error code only: its text names the account and the user that asked.
    """
    form = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": role.arn,
        "RoleSessionName": SESSION,
        **({"ExternalId": role.external_id} if role.external_id is not None else {}),
    }
    request = UpstreamRequest(
        method="POST",
        url=url,
        headers=(("content-type", "application/x-www-form-urlencoded; charset=utf-8"),),
        body=urlencode(form).encode(),
    )
    status, answer = await _send(await sign(request, keys, region=region, service="sts"), http)
    found = {name.decode(): value.decode("utf-8", "replace") for name, value in _ELEMENT.findall(answer)}
    if status != 200:
        code = found.get("Code", "")
        shown = code if _CODE.fullmatch(code) else f"status {status}"
        raise UpstreamStatus(f"AWS STS refused to assume aws_role_arn: {shown}", status=status, error_type=code or None)
    try:
        assumed = Keys(found["AccessKeyId"], Secret(found["SecretAccessKey"]), Secret(found["SessionToken"]))
        left = datetime.fromisoformat(found["Expiration"]).timestamp() - time.time()
    except (KeyError, ValueError) as error:
        raise UpstreamError("AWS STS answered without keys") from error
    return Lease(assumed, max(left - EARLY, left / 2), max(left - LAST, 0.0))


async def _send(request: UpstreamRequest, http: ClientSession) -> tuple[int, bytes]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    headers = dict(request.headers)
    try:
        async with http.post(
            request.url, data=request.body, headers=headers, timeout=timeout, allow_redirects=False
        ) as answer:
            return answer.status, await answer.content.read(LIMIT)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ConnectFailed("AWS STS can't be reached") from error
