"""Looking up a few headers of a request in one pass: see headers.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.string cimport memcmp

cdef enum:
    MOST = 16

cdef bytes _none = b""


cdef inline void _give(tuple target, Py_ssize_t place, object value):
    Py_INCREF(value)  # PyTuple_SET_ITEM takes a reference over
    PyTuple_SET_ITEM(target, place, value)


cdef class Picker:
    cdef tuple names
    cdef int count
    cdef int single  # names before the group
    cdef const char* name[MOST]
    cdef Py_ssize_t size[MOST]
    cdef unsigned long long sizes

    def __init__(self, *names, group=()):
        self.single = len(names)
        names += tuple(group)
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
        # Borrowed: `headers` holds its pairs, and no Python code runs before the result holds their values.
        cdef PyObject *found[MOST]
        cdef Py_ssize_t i, size
        cdef int wanted
        cdef object pair, name
        if type(headers) is not list:
            headers = list(headers)  # ASGI allows any iterable
        for wanted in range(self.count):
            found[wanted] = <PyObject *> _none
        for i in range(PyList_GET_SIZE(headers)):
            pair = <object> PyList_GET_ITEM(headers, i)
            if type(pair) is not tuple or PyTuple_GET_SIZE(pair) != 2:
                return self.pick([(name, value) for name, value in headers])  # ASGI allows any pair
            name = <object> PyTuple_GET_ITEM(pair, 0)
            if type(name) is not bytes:
                continue
            size = PyBytes_GET_SIZE(name)
            if size > 63 or not (self.sizes >> size) & 1:
                continue
            for wanted in range(self.count):
                if self.size[wanted] == size and memcmp(self.name[wanted], PyBytes_AS_STRING(name), size) == 0:
                    if found[wanted] == <PyObject *> _none:
                        found[wanted] = PyTuple_GET_ITEM(pair, 1)
                    break
        cdef bint grouped = self.single < self.count
        cdef tuple result = PyTuple_New(self.single + grouped)
        cdef tuple group
        for wanted in range(self.single):
            _give(result, wanted, <object> found[wanted])
        if grouped:
            group = PyTuple_New(self.count - self.single)
            for wanted in range(self.single, self.count):
                _give(group, wanted - self.single, <object> found[wanted])
            _give(result, self.single, group)
        return result
