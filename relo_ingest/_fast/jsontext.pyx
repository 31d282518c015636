"""A look at JSON text that is to be stored as it is: see jsontext.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

cdef enum:
    DEEPEST = 32
    LONGEST_FRACTION = 40

MAX_DEPTH = DEEPEST


cdef inline int _hex4(const unsigned char* p, const unsigned char* end) noexcept nogil:
    """The value of four hex digits at p, or -1."""
    cdef int value = 0
    cdef int i
    cdef unsigned char c
    if end - p < 4:
        return -1
    for i in range(4):
        c = p[i]
        if c'0' <= c <= c'9':
            value = value * 16 + c - c'0'
        elif c'a' <= c <= c'f':
            value = value * 16 + c - c'a' + 10
        elif c'A' <= c <= c'F':
            value = value * 16 + c - c'A' + 10
        else:
            return -1
    return value


cdef inline Py_ssize_t _utf8(const unsigned char* p, const unsigned char* end) noexcept nogil:
    """The length of the UTF-8 sequence at p (first byte >= 0x80), or 0 if it is none (RFC 3629, table 3-7)."""
    cdef unsigned char first = p[0]
    cdef unsigned char low = 0x80
    cdef unsigned char high = 0xBF
    cdef Py_ssize_t size, i
    if 0xC2 <= first <= 0xDF:
        size = 2
    elif 0xE0 <= first <= 0xEF:
        size = 3
        if first == 0xE0:
            low = 0xA0
        elif first == 0xED:
            high = 0x9F
    elif 0xF0 <= first <= 0xF4:
        size = 4
        if first == 0xF0:
            low = 0x90
        elif first == 0xF4:
            high = 0x8F
    else:
        return 0
    if end - p < size or not low <= p[1] <= high:
        return 0
    for i in range(2, size):
        if p[i] & 0xC0 != 0x80:
            return 0
    return size


cdef const unsigned char* _string(const unsigned char* p, const unsigned char* end) noexcept nogil:
    """Past the closing quote of the string whose first character is at p, or NULL."""
    cdef unsigned char c
    cdef int code
    cdef Py_ssize_t size
    while p < end:
        c = p[0]
        if c == c'"':
            return p + 1
        if c == c'\\':
            if end - p < 2:
                return NULL
            c = p[1]
            p += 2
            if c == c'u':
                code = _hex4(p, end)
                if code < 0 or 0xDC00 <= code <= 0xDFFF:
                    return NULL
                p += 4
                if 0xD800 <= code <= 0xDBFF:
                    if end - p < 6 or p[0] != c'\\' or p[1] != c'u':
                        return NULL
                    code = _hex4(p + 2, end)
                    if not 0xDC00 <= code <= 0xDFFF:
                        return NULL
                    p += 6
            elif c not in (c'"', c'\\', c'/', c'b', c'f', c'n', c'r', c't'):
                return NULL
        elif c < 0x20:
            return NULL
        elif c < 0x80:
            p += 1
        else:
            size = _utf8(p, end)
            if size == 0:
                return NULL
            p += size
    return NULL


cdef const unsigned char* _number(const unsigned char* p, const unsigned char* end) noexcept nogil:
    """Past the number at p, or NULL if a double may not hold it."""
    cdef const unsigned char* start = p
    cdef bint fraction = False
    cdef int exponent_digits = -1
    cdef unsigned char c
    while p < end:
        c = p[0]
        if c'0' <= c <= c'9':
            if exponent_digits >= 0:
                exponent_digits += 1
        elif c == c'.':
            fraction = True
        elif c == c'e' or c == c'E':
            fraction = True
            exponent_digits = 0
        elif c != c'-' and c != c'+':
            break
        p += 1
    if exponent_digits > 2 or (fraction and p - start > LONGEST_FRACTION):
        return NULL
    return p


cdef bint _plain(const unsigned char* p, const unsigned char* end) noexcept nogil:
    cdef int depth = 0
    cdef unsigned char c
    while p < end:
        c = p[0]
        if c == c'"':
            p = _string(p + 1, end)
            if p == NULL:
                return False
        elif c == c'-' or c'0' <= c <= c'9':
            p = _number(p, end)
            if p == NULL:
                return False
        else:
            if c == c'{' or c == c'[':
                depth += 1
                if depth > DEEPEST:
                    return False
            elif c == c'}' or c == c']':
                depth -= 1
            elif c == c'N' or c == c'I' or c >= 0x80:
                return False
            p += 1
    return True


def is_plain(bytes text not None):
    cdef const unsigned char* start = <const unsigned char*> PyBytes_AS_STRING(text)
    return _plain(start, start + PyBytes_GET_SIZE(text))
