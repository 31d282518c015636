"""Signatures of webhooks in Stripe's form: ``Stripe-Signature: t=…,v1=…[,v1=…]``.

Source of the rules: https://docs.stripe.com/webhooks#verify-manually and ``stripe.WebhookSignature``.
"""

from collections.abc import Iterable
from typing import Final

OK: Final = 0
"""Genuine and within the tolerance."""
MISSING: Final = 1
"""No header, or an empty one."""
MALFORMED: Final = 2
"""No readable ``t``, no ``v1``, or a ``t`` or ``v1`` without ``=``."""
TOO_OLD: Final = 3
"""Genuine, but signed more than ``tolerance`` seconds ago."""
TOO_NEW: Final = 4
"""Genuine, but signed more than ``tolerance`` seconds ahead of ``now``."""
MISMATCH: Final = 5
"""No ``v1`` matches the payload under any secret, or there is no secret."""

def verify(payload: bytes, header: bytes | str | None, secrets: Iterable[bytes], now: int, tolerance: int = 300) -> int:
    """What to think of a signed payload: one of the constants above.

    ``payload`` is the raw body, byte by byte as received. A ``bytes`` header is read as Latin-1 (ASGI).
    ``secrets`` are whole ``whsec_…`` strings; any ``v1`` may match any of them; blank ones are passed over.
    ``now`` and ``tolerance`` are in seconds; the tolerance has no value that switches the check off.

    The verdict is that of ``stripe.WebhookSignature.verify_header``, whose corners are kept: the first ``t``
    counts, and may be whatever ``int()`` reads; a value ends at its second ``=``; names are exact (``" v1"``
    is another scheme); hex digits are lower-case; the signature is looked at before the age. It differs in
    three things: a timestamp too far ahead is refused; a body that is not UTF-8 is verified as the bytes it
    is, where Stripe's raises UnicodeDecodeError; a ``v1`` that is not ASCII does not match, where it raises.

    The digest is OpenSSL's; digests are compared in constant time.
    ValueError for a tolerance of 0 or less; TypeError for a secret or header of another type.
    """

def sign(payload: bytes, secret: bytes, timestamp: int) -> str:
    """The header that signs ``payload`` at ``timestamp`` (Unix seconds). For the demo and for tests."""
