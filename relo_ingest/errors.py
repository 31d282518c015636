"""Every error once: its code, HTTP status, whether trying again helps, its log level, what to do.

``Problem`` is what a sender can be told. The exceptions below it are what an operator is told.
"""

from __future__ import annotations

import logging

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """A reason to refuse a request.

    ``message`` says what to do; it never holds a secret, an e-mail address or a body.
    """

    code: str
    status: int
    message: str
    retryable: bool = False
    level: int = logging.DEBUG
    retry_after_s: int = 0


MALFORMED_JSON = Problem("malformed_json", 400, "The body is not valid JSON.")
INVALID_EVENT = Problem("invalid_event", 400, "The event does not have the expected fields.")
INVALID_PAYLOAD = Problem(
    "invalid_payload", 400, "The signature is right, but the body is not a Stripe event.", level=logging.WARNING
)
TOO_MANY_EVENTS = Problem("too_many_events", 400, "Send at most 500 events in one array.")
CLIENT_DISCONNECTED = Problem("client_disconnected", 400, "The body ended early.")
BAD_SIGNATURE = Problem(
    "bad_signature",
    401,
    "The Stripe-Signature header does not match; check the endpoint's signing secret.",
    level=logging.WARNING,
)
STALE_SIGNATURE = Problem(
    "stale_signature",
    401,
    "The signature's timestamp is more than 300 s from now; check this machine's clock.",
    level=logging.WARNING,
)
MISSING_SIGNATURE = Problem("missing_signature", 401, "Send the Stripe-Signature header.")
UNKNOWN_CLIENT = Problem("unknown_client", 404, "No active client has this client_id or slug.")
UNKNOWN_REF = Problem("unknown_ref", 404, "No active partner has this ref.")
NOT_FOUND = Problem("not_found", 404, "There is nothing at this path.")
METHOD_NOT_ALLOWED = Problem("method_not_allowed", 405, "This path does not take this method.")
BODY_TOO_SLOW = Problem("body_too_slow", 408, "The body did not arrive in time; send it again.", retryable=True)
BODY_TOO_LARGE = Problem("body_too_large", 413, "The body is too large; send fewer events at once.")
UNSUPPORTED_MEDIA_TYPE = Problem("unsupported_media_type", 415, "Send application/json, or text/plain with JSON in it.")
OVER_QUOTA = Problem("over_quota", 429, "This client sends too many events; slow down.", True, retry_after_s=1)
INTERNAL = Problem("internal", 500, "Something broke here; it has been logged.", True, logging.ERROR)
SPOOL_FULL = Problem(
    "spool_full", 503, "Nothing more can be stored safely now; send it again later.", True, logging.ERROR, 5
)
TOO_BUSY = Problem("too_busy", 503, "Too many requests at once; send it again.", True, logging.WARNING, 1)
NOT_READY = Problem("not_ready", 503, "The service has not loaded its registry yet.", True, logging.WARNING, 2)

PROBLEMS: tuple[Problem, ...] = tuple(v for v in dict(globals()).values() if isinstance(v, Problem))
if len({p.code for p in PROBLEMS}) != len(PROBLEMS):
    raise RuntimeError("two problems share a code")


class RequestRefused(Exception):
    """Stops the handling of one request with a Problem; ``detail`` makes its message more exact."""

    def __init__(self, problem: Problem, detail: str = "") -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.detail = detail


class ReloError(Exception):
    """Something an operator can mend; the message is one line that says what and how."""

    exit_code = 1


class ConfigError(ReloError):
    """Wrong configuration: sysexits' EX_CONFIG, so that a supervisor does not try again."""

    exit_code = 78
