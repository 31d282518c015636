"""Signatures of webhooks in Stripe's form. See signature.pyi for the rules.

The digest is OpenSSL's, through Python. The header is read in place, twice: once for the timestamp and the
form, once to compare each v1 with each expected digest. A timestamp of plain digits (all that Stripe sends)
never becomes a Python object; anything else goes the slow way through int(), as Stripe's library does.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcpy

from hmac import digest as _hmac_digest_any

try:
    # hmac.digest without its wrapper. Absent from a Python without OpenSSL.
    from _hashlib import hmac_digest as _hmac_digest
except ImportError:
    _hmac_digest = _hmac_digest_any


cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    const void *PyUnicode_DATA(object text)


cdef enum:
    C_OK = 0
    C_MISSING = 1
    C_MALFORMED = 2
    C_TOO_OLD = 3
    C_TOO_NEW = 4
    C_MISMATCH = 5
    HEX_DIGITS = 64

OK = C_OK
MISSING = C_MISSING
MALFORMED = C_MALFORMED
TOO_OLD = C_TOO_OLD
TOO_NEW = C_TOO_NEW
MISMATCH = C_MISMATCH

cdef int64_t FURTHEST = <int64_t>1 << 60

cdef bytes _BLANK = b" \t\r\n\f\v"
cdef str _SHA256 = "sha256"


# One "name=value" of the header. The value ends at a second "=": Stripe's library splits it off.
cdef struct Item:
    const char *name
    Py_ssize_t name_size
    const char *value  # NULL when there is no "="
    Py_ssize_t value_size


cdef inline const char *_next_item(const char *p, const char *end, Item *item) noexcept nogil:
    # Reads the item at p; the start of the next one, or NULL when it was the last.
    cdef const char *comma = <const char *>memchr(p, c",", end - p)
    cdef const char *stop = end if comma == NULL else comma
    cdef const char *equals = <const char *>memchr(p, c"=", stop - p)
    cdef const char *second
    item.name = p
    if equals == NULL:
        item.name_size = stop - p
        item.value = NULL
        item.value_size = 0
    else:
        item.name_size = equals - p
        item.value = equals + 1
        second = <const char *>memchr(equals + 1, c"=", stop - equals - 1)
        item.value_size = (stop if second == NULL else second) - item.value
    if comma == NULL:
        return NULL
    return comma + 1


cdef inline bint _is_timestamp(const Item *item) noexcept nogil:
    return item.name_size == 1 and item.name[0] == c"t"


cdef inline bint _is_v1(const Item *item) noexcept nogil:
    return item.name_size == 2 and item.name[0] == c"v" and item.name[1] == c"1"


cdef inline bint _same_digest(const char *a, const char *b) noexcept nogil:
    # Takes the same time wherever the digits differ. `volatile` keeps the compiler from leaving early.
    cdef volatile unsigned char difference = 0
    cdef Py_ssize_t i
    for i in range(HEX_DIGITS):
        difference |= <unsigned char>a[i] ^ <unsigned char>b[i]
    return difference == 0


cdef inline void _to_hex(const unsigned char *digest, char *text) noexcept nogil:
    cdef const char *digits = b"0123456789abcdef"
    cdef Py_ssize_t i
    for i in range(HEX_DIGITS // 2):
        text[2 * i] = digits[digest[i] >> 4]
        text[2 * i + 1] = digits[digest[i] & 15]


cdef inline bytes _signed_text(const char *timestamp, Py_ssize_t size, bytes payload):
    # "{timestamp}.{payload}": one copy of the payload, which costs a fiftieth of its digest.
    cdef Py_ssize_t body_size = PyBytes_GET_SIZE(payload)
    cdef bytes text = PyBytes_FromStringAndSize(NULL, size + 1 + body_size)
    cdef char *p = PyBytes_AS_STRING(text)
    memcpy(p, timestamp, size)
    p[size] = c"."
    memcpy(p + size + 1, PyBytes_AS_STRING(payload), body_size)
    return text


cdef bytes _digest(bytes secret, bytes text):
    try:
        return _hmac_digest(secret, text, _SHA256)
    except OverflowError:  # OpenSSL counts in int: 2 GiB and more go another way
        return _hmac_digest_any(secret, text, _SHA256)


cdef bint _is_blank(bytes secret):
    cdef const char *p = PyBytes_AS_STRING(secret)
    cdef Py_ssize_t i
    for i in range(PyBytes_GET_SIZE(secret)):
        if memchr(PyBytes_AS_STRING(_BLANK), p[i], PyBytes_GET_SIZE(_BLANK)) == NULL:
            return False
    return True


def verify(bytes payload not None, object header, object secrets, int64_t now, int64_t tolerance=300) -> int:
    cdef bytes encoded = None  # keeps a header alive that had to be encoded
    cdef const char *text
    cdef Py_ssize_t size
    cdef bint is_text = False
    if tolerance <= 0:
        raise ValueError("tolerance is a number of seconds above 0: the check cannot be switched off")
    # Beyond these (in 36 billion years) sums would wrap, and an old timestamp could look like a new one.
    now = max(-FURTHEST, min(FURTHEST, now))
    tolerance = min(FURTHEST, tolerance)
    if header is None:
        return C_MISSING
    if isinstance(header, bytes):
        text = PyBytes_AS_STRING(header)
        size = PyBytes_GET_SIZE(header)
    elif isinstance(header, str):
        is_text = True
        if PyUnicode_IS_COMPACT_ASCII(header):
            text = <const char *>PyUnicode_DATA(header)
            size = PyUnicode_GET_LENGTH(header)
        else:
            encoded = (<str>header).encode("utf-8", "surrogatepass")
            text = PyBytes_AS_STRING(encoded)
            size = PyBytes_GET_SIZE(encoded)
    else:
        raise TypeError("header is bytes or str")
    if size == 0:
        return C_MISSING

    # Form first: the first t counts, every t and v1 has a value, there is at least one of each.
    cdef const char *end = text + size
    cdef const char *p = text
    cdef Item item
    cdef Item timestamp
    cdef bint found_v1 = False
    timestamp.value = NULL
    timestamp.value_size = 0
    while p != NULL:
        p = _next_item(p, end, &item)
        if _is_timestamp(&item):
            if item.value == NULL:
                return C_MALFORMED
            if timestamp.value == NULL:
                timestamp = item
        elif _is_v1(&item):
            if item.value == NULL:
                return C_MALFORMED
            found_v1 = True
    if timestamp.value == NULL:
        return C_MALFORMED

    # The digest is over the number as "%d" writes it, which for plain digits is the text that was sent.
    cdef int64_t sent = 0
    cdef const char *digits = timestamp.value
    cdef Py_ssize_t digits_size = timestamp.value_size
    cdef bint plain = 0 < digits_size <= 18 and (digits[0] != c"0" or digits_size == 1)
    cdef Py_ssize_t i
    cdef object number
    cdef bytes canonical
    if plain:
        for i in range(digits_size):
            if not c"0" <= digits[i] <= c"9":
                plain = False
                break
            sent = sent * 10 + (digits[i] - c"0")
    if not plain:
        try:
            number = int(digits[:digits_size].decode("utf-8" if is_text else "latin-1", "surrogatepass"))
            canonical = str(number).encode("ascii")
        except ValueError:
            return C_MALFORMED
        digits = PyBytes_AS_STRING(canonical)
        digits_size = PyBytes_GET_SIZE(canonical)
        # Only compared with a window around now: what does not fit is as good as the nearest that does.
        sent = <int64_t>max(-(1 << 62), min(1 << 62, number))
    if not found_v1:
        return C_MALFORMED

    cdef bytes signed = None
    cdef char expected[HEX_DIGITS]
    cdef bint matched = False
    for secret in secrets:
        if not isinstance(secret, bytes):
            raise TypeError("a secret is bytes")
        if _is_blank(<bytes>secret):
            continue
        if signed is None:
            signed = _signed_text(digits, digits_size, payload)
        _to_hex(<const unsigned char *>PyBytes_AS_STRING(_digest(<bytes>secret, signed)), expected)
        p = text
        while p != NULL:
            p = _next_item(p, end, &item)
            if _is_v1(&item) and item.value_size == HEX_DIGITS and _same_digest(item.value, expected):
                matched = True
    if not matched:
        return C_MISMATCH

    # Age last, as Stripe's library does: "too old" is only ever said of a genuine signature.
    if sent < now - tolerance:
        return C_TOO_OLD
    if sent > now + tolerance:
        return C_TOO_NEW
    return C_OK


def sign(bytes payload not None, bytes secret not None, int64_t timestamp) -> str:
    cdef bytes digits = str(timestamp).encode("ascii")
    cdef bytes signed = _signed_text(PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits), payload)
    return f"t={timestamp},v1={_digest(secret, signed).hex()}"
