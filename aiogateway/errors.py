"""Everything that can go wrong in a call, as one tree.

::

    GatewayError                  500  internal_error
    ├── RequestError              400  invalid_request          the caller has to change something
    │   ├── ConfigError           400  invalid_config           .path names the field
    │   ├── Unsupported           400  unsupported_parameter    .param names it
    │   ├── NotFound              404  not_found
    │   ├── NotBuilt              501  not_implemented          reserved, answers later
    │   ├── RequestTimeout        408  request_timeout          the caller's own body came too slowly
    │   └── BodyTooLarge          413  body_too_large
    ├── AccessError               403  access_denied
    │   └── Forbidden             403  forbidden                .scope
    ├── Overloaded                503  overloaded               our own bound on buffered bytes or our drain
    ├── UpstreamError             502  upstream_error
    │   ├── UpstreamStatus        as received                   .body, .headers as the provider sent them
    │   ├── ConnectFailed         502  connect_failed
    │   ├── ConnectTimeout        504  connect_timeout
    │   ├── UpstreamTLS           502  upstream_tls
    │   ├── FirstTokenTimeout     408  first_token_timeout
    │   ├── IdleTimeout           504  idle_timeout
    │   ├── TotalTimeout          504  total_timeout
    │   └── StreamBroken          502  stream_truncated
    │       └── AnswerDiffers     502  answer_differs           a recovery's; the caller hears of the break before it
    ├── ClientStalled             499  client_stalled           the client accepted nothing for too long
    ├── SettingsError             500  invalid_settings         stops the start; .path names the field
    └── PluginError               500  plugin_error             .plugin .hook

``status``, ``code`` and ``retryable`` are class attributes, so "may the next target be tried?" is one expression in one
place. ``message`` is for the caller: it never carries a secret or an address of our own network. "The client went away"
is an outcome (499 in the record), not an error.
"""

from __future__ import annotations

from typing import ClassVar

Headers = tuple[tuple[str, str], ...]
"""Header pairs in order; names are lower case."""


class GatewayError(Exception):
    """Base of all; ``str(error)`` is the message that callers may see."""

    status: int = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "gateway_error"
    retryable: ClassVar[bool] = False
    param: str | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(GatewayError):
    """The caller sent something that can't be served as it is."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ConfigError(RequestError):
    """A config (or a header that stands for one) is wrong; ``path`` is dotted: ``targets[1].retry.attempts``.

    ``errors`` holds all of a config's mistakes when there are several, and is empty otherwise.
    """

    code = "invalid_config"

    def __init__(self, message: str, *, path: str = "", errors: tuple[ConfigError, ...] = ()) -> None:
        super().__init__(f"{path}: {message}" if path else message, param=path or None)
        self.path = path
        self.reason = message
        self.errors = errors


class Unsupported(RequestError):
    """The chosen target can't do what ``param`` asks."""

    code = "unsupported_parameter"


class NotFound(RequestError):
    """Nothing is at this path."""

    status = 404
    code = "not_found"


class NotBuilt(RequestError):
    """The path is reserved for something that does not exist yet."""

    status = 501
    code = "not_implemented"


class RequestTimeout(RequestError):
    """The caller's own body came too slowly."""

    status = 408
    code = "request_timeout"


class BodyTooLarge(RequestError):
    """More request bytes than ``max_body``."""

    status = 413
    code = "body_too_large"


class AccessError(GatewayError):
    """The caller may not do this."""

    status = 403
    code = "access_denied"
    type = "access_error"


class Forbidden(AccessError):
    """A known caller, but not for this."""

    code = "forbidden"

    def __init__(self, message: str, *, scope: str = "") -> None:
        super().__init__(message)
        self.scope = scope


class Overloaded(GatewayError):
    """This worker holds as many bytes as it may (``max_buffered``), or is going away."""

    status = 503
    code = "overloaded"


class UpstreamError(GatewayError):
    """The provider, or the way to it, failed."""

    status = 502
    code = "upstream_error"
    type = "upstream_error"
    retryable = True


class UpstreamStatus(UpstreamError):
    """The provider answered with an error of its own; body and headers are kept as they came."""

    code = "upstream_status"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        body: bytes = b"",
        headers: Headers = (),
        error_type: str | None = None,
        error_code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.headers = headers
        self.error_type = error_type
        self.error_code = error_code
        self.param = param


class ConnectFailed(UpstreamError):
    """No connection: refused, unreachable, no such name."""

    code = "connect_failed"


class ConnectTimeout(UpstreamError):
    """No connection within the ``connect`` deadline."""

    status = 504
    code = "connect_timeout"


class UpstreamTLS(UpstreamError):
    """The provider's certificate or handshake is not acceptable; never retried in clear."""

    code = "upstream_tls"


class FirstTokenTimeout(UpstreamError):
    """Nothing that counts as an answer within ``first_token`` (also set by ``request_timeout``)."""

    status = 408
    code = "first_token_timeout"
    type = "timeout_error"


class IdleTimeout(UpstreamError):
    """The provider fell silent for longer than ``idle`` after its answer had begun."""

    status = 504
    code = "idle_timeout"
    type = "timeout_error"


class TotalTimeout(UpstreamError):
    """The call took longer than ``total``."""

    status = 504
    code = "total_timeout"
    type = "timeout_error"


class StreamBroken(UpstreamError):
    """The answer stopped, or stopped making sense, before its end."""

    code = "stream_truncated"


class AnswerDiffers(StreamBroken):
    """Another target's answer is not the one that the client already has a part of."""

    code = "answer_differs"


class ClientStalled(GatewayError):
    """The client accepted nothing for ``client_stall``; its connection is cut."""

    status = 499
    code = "client_stalled"


class SettingsError(GatewayError):
    """A setting is wrong; stops the start."""

    code = "invalid_settings"

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class PluginError(GatewayError):
    """A plugin is broken; names the distribution and the hook."""

    code = "plugin_error"

    def __init__(self, message: str, *, plugin: str, hook: str = "") -> None:
        super().__init__(f"plugin {plugin}{f' ({hook})' if hook else ''}: {message}")
        self.plugin = plugin
        self.hook = hook
