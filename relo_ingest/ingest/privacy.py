"""Secrets and addresses are taken out of URLs before they are written.

A URL that a page reports may hold what its visitor never meant to tell us: a reset token, an e-mail address, a session.
What is replaced:

- the value of a parameter whose name is in the list of settings (``privacy.redact_parameters``), whole or as one of its
  words: ``token``, ``access_token``, ``x-token``, ``user[token]``, ``token2``; in the query, the fragment, and after
  ``;`` in the path;
- the value of any parameter, and any segment of the path, that holds an e-mail address, a JSON Web Token, or a URL
  with such a parameter, percent-encoded up to three times;
- ``user:password@`` before the host.

Every other byte stays as it was: nothing is decoded and encoded again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

REDACTED = "REDACTED"

MOST_DECODED = 3
"""How often a value is percent-decoded in search of an address: a link in a link in a link's parameter."""

MOST_READ = 8192
"""Characters of a URL that are looked at and returned: four times what the column keeps, of up to 1 MiB."""

MOST_REMEMBERED, LONGEST_REMEMBERED = 20_000, 256
"""A site's pages are seen again and again; at most some 10 MB."""

# All patterns run in linear time: their repeats are possessive or exclude what comes next, and a search that fails
# cannot begin again inside what it has read.

# A part before the @ is needed (/@handle is none), and a top-level domain; logo@2x.png is a picture.
_ADDRESS = re.compile(
    r"@(?<=[\w.!$'*+^`{|}~%\"-]@)(?!\dx\.(?:avif|gif|jpe?g|png|svg|webp)(?![\w.-]))"
    r"(?:[\w-]++\.)+(?:xn--|[^\W\d_][^\W\d_])"
)
_ADDRESS_IN_TEXT = re.compile(r"(?<![\w.%+'-])[\w.%+'-]++@(?:[\w-]++\.)+[^\W\d_]{2,}+")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{6,}+\.[\w-]*+\.")
_USERINFO = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*+:)?//([^/]*)@")
_SEGMENT = re.compile(r"[^/]+")
# A value goes on after a ";" without a name: "token=ab;cd" is one value, "token=ab;x=cd" are two.
_PAIR = re.compile(r"[^&;=]*+=[^&;]*+(?:;[^&;=]*+(?=[&;]|\Z))*+|[^&;=]++")
_NEEDS_A_LOOK = re.compile(r"[@%?#/]|eyJ").search
_NAME = re.compile(r"[^?#/]*\Z")
_NESTED_NAME = re.compile(r"(?:^|[?&;#/])([^=&;#?/]++)=")


class Redactor:
    """``names``: the parameters whose values are secrets or addresses, in any case."""

    def __init__(self, names: Iterable[str]) -> None:
        rest: dict[str, list[str]] = {}
        for name in sorted({n.lower() for n in names}):
            rest.setdefault(name[0], []).append(re.escape(name[1:]))
        word = "(?:" + ("|".join(f"{c}(?:{'|'.join(r)})" for c, r in rest.items()) or "(?!)") + r")\d*+"
        self._is_sensitive = re.compile(rf"(?:^|[_\[-]|%(?:25)*+[0-9a-f][0-9a-f]){word}(?![a-z0-9])").search
        # The next two find all that may have to be redacted, and little else, in one look. All read lower case: a
        # pattern that ignores case cannot skip to where it may begin.
        suffix = r"(?:[=%]|[^a-z0-9=%&;#?/][^=%&;#?/]{0,24}+[^&;#?/])"
        self._may_leak = re.compile(rf"[?&;#/=_\[-]{word}{suffix}").search
        self._known: dict[str, str] = {}
        self._may_leak_encoded = re.compile(rf"%(?:25)*+(?:40|[0-9a-f][0-9a-f]{word}{suffix})").search

    def redact(self, url: str) -> str:
        """``url`` without its secrets, in linear time; of a long one the first MOST_READ characters. Twice is once."""
        known = self._known.get(url)
        if known is None:
            known = self._redacted(url)
            if len(url) <= LONGEST_REMEMBERED:
                if len(self._known) >= MOST_REMEMBERED:
                    self._known.clear()
                self._known[url] = known
        return known

    def redact_pairs(self, pairs: dict[str, str]) -> dict[str, str]:
        """Decoded parameters of a query, without their secrets."""
        return {k: REDACTED if v and self._has_sensitive_word(k) else v for k, v in pairs.items()}

    def _redacted(self, url: str) -> str:
        if "@" not in url and "eyJ" not in url:
            encoded = "%" in url
            if not encoded and "=" not in url:
                return url
            if len(url) > MOST_READ:
                url = _cut(url)
            lower = url.lower()
            if not self._may_leak(lower) and not (encoded and self._may_leak_encoded(lower)):
                return url
        if len(url) > MOST_READ:
            url = _cut(url)
        head, hash_sign, fragment = url.partition("#")
        path, question_mark, query = head.partition("?")
        return f"{self._path(path)}{question_mark}{self._pairs(query)}{hash_sign}{self._fragment(fragment)}"

    def _path(self, path: str) -> str:
        user = _USERINFO.match(path)
        if user:
            authority = path[: user.start(1)] + REDACTED + "@"
            host, slash, rest = path[user.end() :].partition("/")
            return f"{authority}{self._segments(host)}{slash}{self._segments(rest)}"
        return self._segments(path)

    def _fragment(self, fragment: str) -> str:
        """Pairs, or a path that may have a query of its own."""
        route, question_mark, query = fragment.partition("?")
        return f"{self._segments(route)}{question_mark}{self._pairs(query)}"

    def _segments(self, path: str) -> str:
        return _SEGMENT.sub(lambda m: self._pairs(m[0]), path)

    def _pairs(self, text: str) -> str:
        """``a=1&b=2``, separated by ``&`` or ``;``; what has no name is a value."""
        return _PAIR.sub(self._pair, text)

    def _pair(self, match: re.Match[str]) -> str:
        whole = match[0]
        name, equals, value = whole.partition("=")
        if _NEEDS_A_LOOK(whole) or "=" in value:
            if not equals:
                return REDACTED if self._leaks(whole) else whole
            if value and (self._has_sensitive_word(_NAME.search(name)[0]) or self._leaks(value)):  # type: ignore[index]
                value = REDACTED
            return f"{REDACTED if self._leaks(name) else name}={value}"
        return f"{name}={REDACTED}" if value and self._has_sensitive_word(name) else whole

    def _has_sensitive_word(self, name: str) -> bool:
        return self._is_sensitive(name.lower()) is not None

    def _leaks(self, text: str) -> bool:
        """Whether it holds an address, a token, or a parameter with a sensitive name, under its percent-encoding."""
        if "%" not in text and "@" not in text and "=" not in text and "eyJ" not in text:
            return False
        return any(
            _ADDRESS.search(t) or _JWT.search(t) or any(self._has_sensitive_word(n) for n in _NESTED_NAME.findall(t))
            for t in _decodings(text)
        )


def without_addresses(text: str) -> str:
    """Any text without its e-mail addresses."""
    return _ADDRESS_IN_TEXT.sub(REDACTED, text)


def _decodings(text: str) -> Iterator[str]:
    yield text
    for _ in range(MOST_DECODED):
        if "%" not in text:
            return
        decoded = unquote(text)
        if decoded == text:
            return
        yield decoded
        text = decoded


def _cut(url: str) -> str:
    """What is read of a long URL, not ending within an address, which would not be known for one."""
    found = url[:MOST_READ]
    at = max(found.rfind("@", -300), found.rfind("40", -300))
    return found if at < 0 else found[:at]
