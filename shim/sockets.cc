// SPDX-License-Identifier: MPL-2.0
// The library's own sockets get descriptors that Kea's sockets cannot use.
//
// Kea's main thread waits by select(), which takes no descriptor from FD_SETSIZE (1024) on: the C
// library ends a process that tries. Kea would try when somebody connects to its control socket
// while a thousand lookups hold all lower descriptors. So a socket of the library is moved to a
// descriptor from FD_SETSIZE on. build.rs has the linker put __wrap_socket in the place of socket()
// for this library alone (--wrap of ld).

#include "kea-hook-remote-opts/shim/sockets.h"

#include <fcntl.h>
#include <sys/select.h>
#include <unistd.h>

extern "C" {

int __real_socket(int domain, int type, int protocol);

int __wrap_socket(int domain, int type, int protocol) {
    const int descriptor = __real_socket(domain, type, protocol);
    if (descriptor < 0) {
        return descriptor;
    }
    const int high = fcntl(descriptor, F_DUPFD_CLOEXEC, FD_SETSIZE);
    if (high < 0) {
        // The process may not have so many descriptors, or has used them all.
        return descriptor;
    }
    close(descriptor);
    return high;
}

}  // extern "C"

namespace remote_opts {

std::size_t lowest_socket() noexcept { return FD_SETSIZE; }

}  // namespace remote_opts
