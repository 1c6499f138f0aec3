"""The address gate: a name is resolved, every answer is checked, and only what was checked is dialled.

It stands inside the connector, as its resolver, so that a name can't resolve to one address for the check and to
another for the connection (DNS rebinding). Connectors keep resolved names, so each gate needs a connector of its own.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.helpers import is_ip_address

from ..config.hosts import AddressPolicy

# A last label that makes a C library read the whole host as a number (WHATWG URL, "ends in a number"): 127.1, 0x7f.1
_NUMERIC = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$")


class AddressRefused(OSError):
    """An address that may not be dialled. The message is for the caller and says neither the address nor the host."""

    def __init__(self, message: str = "the host leads to an address that is not allowed") -> None:
        super().__init__(message)


class GuardedResolver(AbstractResolver):
    """Asks `inner`, and refuses the host when a single one of its addresses is refused.

    `operator`: the hosts come from settings, so only what `policy` refuses to operators is refused (link-local).
    """

    def __init__(self, inner: AbstractResolver, policy: AddressPolicy, *, operator: bool) -> None:
        self._inner = inner
        self._policy = policy
        self._operator = operator

    def check_host(self, host: str) -> None:
        """Checks an IP literal, for which aiohttp asks no resolver. Names pass: `resolve` checks what they lead to.

        Raises AddressRefused, also for what only a C library would read as an address (``127.1``, ``2130706433``).
        """
        literal = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not is_ip_address(literal) and not _NUMERIC.search(literal):
            return
        try:
            ipaddress.ip_address(literal)
        except ValueError:
            raise AddressRefused("the host is not a canonical IP address") from None
        self._check(literal, literal)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """What `inner` answers, unchanged. Raises AddressRefused; OSError when there is no address at all."""
        self.check_host(host)
        answers = await self._inner.resolve(host, port, family)
        if not answers:
            raise OSError("the host has no address")
        for answer in answers:
            self._check(answer["host"], host)
        return answers

    async def close(self) -> None:
        """Nothing: `inner` may serve other gates and belongs to whoever made it."""

    def _check(self, address: str, host: str) -> None:
        if not self._policy.allows(address, host=host, operator=self._operator):
            raise AddressRefused
