"""A query string as a dict, in one pass."""

def parse(query: bytes, most: int) -> dict[str, str]:
    """The parameters, decoded as a form's (https://url.spec.whatwg.org/#urlencoded-parsing): the first of a name wins.

    ``urllib.parse.parse_qsl`` with ``keep_blank_values`` reads the same; bytes beyond ASCII count as if they were
    percent-encoded, and what is no UTF-8 becomes U+FFFD. ValueError for more than ``most`` pieces between ``&``.
    """
