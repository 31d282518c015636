"""A query string as a dict, in one pass: see query.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_SetDefault
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.stdlib cimport free, malloc
from libc.string cimport memchr

cdef enum:
    ON_STACK = 512


cdef inline int _hex(unsigned char c) noexcept nogil:
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 0x20
    return c - c'a' + 10 if c'a' <= c <= c'f' else -1


cdef Py_ssize_t _unquote(const unsigned char* p, const unsigned char* end, unsigned char* out) noexcept nogil:
    """Writes at most ``end - p`` bytes; returns how many."""
    cdef unsigned char* start = out
    cdef int high, low
    while p < end:
        if p[0] == c'+':
            out[0] = c' '
        elif p[0] == c'%' and end - p > 2:
            high = _hex(p[1])
            low = _hex(p[2])
            if high < 0 or low < 0:
                out[0] = c'%'
            else:
                out[0] = <unsigned char> (high * 16 + low)
                p += 2
        else:
            out[0] = p[0]
        out += 1
        p += 1
    return out - start


cdef object _text(const unsigned char* p, const unsigned char* end):
    cdef const unsigned char* q = p
    cdef unsigned char stack[ON_STACK]
    cdef unsigned char* buffer = stack
    while q < end and q[0] != c'%' and q[0] != c'+' and q[0] < 0x80:
        q += 1
    if q == end:
        return PyUnicode_DecodeASCII(<const char*> p, end - p, NULL)
    if end - p > ON_STACK:
        buffer = <unsigned char*> malloc(end - p)
        if buffer == NULL:
            raise MemoryError
    try:
        return PyUnicode_DecodeUTF8(<const char*> buffer, _unquote(p, end, buffer), "replace")
    finally:
        if buffer != stack:
            free(buffer)


def parse(bytes query not None, Py_ssize_t most):
    cdef const unsigned char* p = <const unsigned char*> PyBytes_AS_STRING(query)
    cdef const unsigned char* end = p + PyBytes_GET_SIZE(query)
    cdef const unsigned char* stop
    cdef const unsigned char* equals
    cdef Py_ssize_t fields = 0
    cdef dict found = {}
    cdef object value
    while p < end:
        fields += 1
        if fields > most:
            raise ValueError("too many parameters")
        stop = <const unsigned char*> memchr(p, c'&', end - p)
        if stop == NULL:
            stop = end
        if stop > p:
            equals = <const unsigned char*> memchr(p, c'=', stop - p)
            value = _text(equals + 1, stop) if equals != NULL else ""
            PyDict_SetDefault(found, _text(p, equals if equals != NULL else stop), value)
        p = stop + 1
    return found
