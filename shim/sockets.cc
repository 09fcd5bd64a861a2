// The library's own sockets: out of the way of Kea's.
//
// Kea's main thread waits by select(), which takes no descriptor from FD_SETSIZE (1024) on: the C library
// ends the process that tries, as it would when somebody connects to the control socket while a thousand
// lookups hold all descriptors below. So the sockets of lookups get descriptors from there on. build.rs has
// the linker put __wrap_socket in the place of socket() for this library alone (--wrap of ld).

#include <fcntl.h>
#include <sys/select.h>
#include <unistd.h>

#include "kea-hook-remote-opts/shim/shim.h"

extern "C" {

int __real_socket(int domain, int type, int protocol);

int __wrap_socket(int domain, int type, int protocol) {
    const int descriptor = __real_socket(domain, type, protocol);
    if (descriptor < 0) {
        return descriptor;
    }
    const int high = fcntl(descriptor, F_DUPFD_CLOEXEC, FD_SETSIZE);
    if (high < 0) {
        // The process may not have so many, or has them all.
        return descriptor;
    }
    close(descriptor);
    return high;
}

}  // extern "C"

namespace remote_opts {

std::size_t lowest_socket() { return FD_SETSIZE; }

}  // namespace remote_opts
