// SPDX-License-Identifier: MPL-2.0
// The system's certificate authorities out of reach for a Kea of the tests: LD_PRELOAD puts these
// functions before the C library's. As under AppArmor, the files can be seen and cannot be opened.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <initializer_list>

namespace {
using Open = int (*)(const char*, int, ...);

// Whether a path is closed. Sets the error if it is.
bool is_closed(const char* path) {
    for (const char* closed : {"/etc/ssl/certs", "/usr/lib/ssl", "/usr/share/ca-certificates"}) {
        if (std::strncmp(path, closed, std::strlen(closed)) == 0) {
            errno = EACCES;
            return true;
        }
    }
    return false;
}

// The C library's function of this name.
template <typename Function>
Function system_function(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// Calls the C library's function of this name. Only a file that is created has a mode.
int open_by(const char* name, const char* path, int flags, va_list mode) {
    if (is_closed(path)) {
        return -1;
    }
    const Open system = system_function<Open>(name);
    return flags & O_CREAT ? system(path, flags, va_arg(mode, mode_t)) : system(path, flags);
}
}  // namespace

extern "C" int open(const char* path, int flags, ...) {
    va_list mode;
    va_start(mode, flags);
    const int file = open_by("open", path, flags, mode);
    va_end(mode);
    return file;
}

extern "C" int open64(const char* path, int flags, ...) {
    va_list mode;
    va_start(mode, flags);
    const int file = open_by("open64", path, flags, mode);
    va_end(mode);
    return file;
}

extern "C" FILE* fopen(const char* path, const char* mode) {
    return is_closed(path) ? nullptr : system_function<decltype(&fopen)>("fopen")(path, mode);
}

extern "C" FILE* fopen64(const char* path, const char* mode) {
    return is_closed(path) ? nullptr : system_function<decltype(&fopen)>("fopen64")(path, mode);
}

extern "C" DIR* opendir(const char* path) {
    return is_closed(path) ? nullptr : system_function<decltype(&opendir)>("opendir")(path);
}
