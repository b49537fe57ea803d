// The few functions of Python that the core calls, all of the stable ABI, found at run time in the Python that loads it.
//
// So the core is built without Python's headers, links with nothing of Python, and one file serves every CPython from
// 3.11 on, with or without a global lock.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gammabeta {

struct Object;  // PyObject, which is never looked into

struct Buffer {  // Py_buffer, part of the stable ABI since 3.11
    void *buf;
    Object *obj;
    ptrdiff_t len;
    ptrdiff_t itemsize;
    int readonly;
    int ndim;
    char *format;
    ptrdiff_t *shape;
    ptrdiff_t *strides;
    ptrdiff_t *suboffsets;
    void *internal;
};

using Call = Object *(*)(Object *self, Object *const *args, ptrdiff_t count);

struct Method {  // PyMethodDef
    const char *name;
    Call call;
    int flags;
    const char *doc;
};

constexpr int FASTCALL = 0x0080;
constexpr int WRITABLE = 0x0001, FORMAT = 0x0004, C_CONTIGUOUS = 0x0038;  // the last with shape and strides

// In the order in which `kernels/binding.py` gives them.
struct Python {
    int (*get_buffer)(Object *, Buffer *, int);
    void (*release_buffer)(Buffer *);
    long long (*as_long_long)(Object *);
    double (*as_double)(Object *);
    Object *(*error_occurred)();
    void (*set_error)(Object *type, const char *message);
    void *(*save_thread)();
    void (*restore_thread)(void *);
    Object *(*from_long_long)(long long);
    Object *(*new_function)(Method *, Object *self, Object *module);
    Object *none;
    Object *value_error;
    Object *type_error;
};

extern Python python;

}  // namespace gammabeta
