"""Hashes: of e-mail addresses, of keys, and the checksum of rows. See digest.pyi for each rule.

SHA-256 and BLAKE2b are Python's own (OpenSSL, HACL*); only CRC-32C, which is no cryptography, is here.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t

from hashlib import blake2b as _blake2b
from hashlib import sha256 as _sha256


cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    const unsigned char *PyUnicode_1BYTE_DATA(object text)


# What String.prototype.trim of ECMAScript removes. Not str.strip(): the pixel and the server must hash
# the same address to the same value, and the two disagree on U+001C..1F, U+0085 and U+FEFF.
cdef str _TRIMMED = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)

relo_crc32c_init()


def email_hash(str address not None) -> str:
    cdef str text = address.strip(_TRIMMED).lower()
    if "@" not in text:
        return ""
    if PyUnicode_IS_ASCII(text):
        return _sha256(text.encode("ascii")).hexdigest()
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError:
        # As TextEncoder does in the browser: pairs are joined, a lone surrogate becomes U+FFFD.
        encoded = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode("utf-8")
    return _sha256(encoded).hexdigest()


def is_sha256_hex(object text) -> bool:
    if not isinstance(text, str) or not PyUnicode_IS_ASCII(text) or PyUnicode_GET_LENGTH(text) != 64:
        return False
    cdef const unsigned char *digits = PyUnicode_1BYTE_DATA(text)
    cdef unsigned char digit
    cdef Py_ssize_t i
    for i in range(64):
        digit = digits[i]
        if not (48 <= digit <= 57 or 97 <= digit <= 102):
            return False
    return True


def key64(bytes data not None) -> int:
    return int.from_bytes(_blake2b(data, digest_size=8).digest(), "little")


cdef object _checksum(object data, uint32_t seed, bint portable):
    cdef Py_buffer view
    cdef uint32_t crc
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if portable:
            crc = relo_crc32c_portable(seed, view.buf, <size_t>view.len)
        else:
            crc = relo_crc32c(seed, view.buf, <size_t>view.len)
    finally:
        PyBuffer_Release(&view)
    return crc


def crc32c(object data, uint32_t seed=0) -> int:
    return _checksum(data, seed, False)


def _crc32c_portable(object data, uint32_t seed=0) -> int:
    # The table implementation by itself, so that machines with the instruction test it too.
    return _checksum(data, seed, True)
