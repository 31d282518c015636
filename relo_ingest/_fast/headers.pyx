"""Looking up a few headers of a request in one pass: see headers.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.string cimport memcmp

cdef enum:
    MOST = 16


cdef class Picker:
    cdef tuple names
    cdef int count
    cdef const char* name[MOST]
    cdef Py_ssize_t size[MOST]
    cdef unsigned long long sizes

    def __init__(self, *names):
        if len(names) > MOST:
            raise ValueError("at most 16 names")
        self.names = names
        self.count = len(names)
        for i in range(self.count):
            if type(names[i]) is not bytes or not 0 < len(names[i]) < 64:
                raise ValueError("expected names of 1 to 63 bytes")
            self.name[i] = PyBytes_AS_STRING(names[i])
            self.size[i] = PyBytes_GET_SIZE(names[i])
            self.sizes |= 1ull << self.size[i]

    def pick(self, headers):
        if type(headers) is not list:
            headers = list(headers)  # ASGI allows any iterable
        cdef list found = [b""] * self.count
        cdef Py_ssize_t i, size
        cdef int wanted
        cdef object pair, name
        for i in range(PyList_GET_SIZE(headers)):
            pair = <object> PyList_GET_ITEM(headers, i)
            if type(pair) is not tuple or PyTuple_GET_SIZE(pair) != 2:
                pair = tuple(pair)  # ASGI allows any pair
            name = <object> PyTuple_GET_ITEM(pair, 0)
            if type(name) is not bytes:
                continue
            size = PyBytes_GET_SIZE(name)
            if size > 63 or not (self.sizes >> size) & 1:
                continue
            for wanted in range(self.count):
                if self.size[wanted] == size and memcmp(self.name[wanted], PyBytes_AS_STRING(name), size) == 0:
                    if not found[wanted]:
                        found[wanted] = <object> PyTuple_GET_ITEM(pair, 1)
                    break
        return found
