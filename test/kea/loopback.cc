// SPDX-License-Identifier: MPL-2.0
// ::1 for a Kea of the tests where the machine has none, as in a container without IPv6: LD_PRELOAD
// puts these functions before the C library's. They take 127.0.0.1, written as an IPv6 address, in
// the place of ::1. Nothing else about the sockets changes.
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

namespace {
using Function = int (*)(int, const sockaddr*, socklen_t);

// Calls the C library's function of this name.
int call(const char* name, int socket, const sockaddr* address, socklen_t length) {
    const Function system = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
    sockaddr_in6 changed;
    if (length < sizeof changed || address->sa_family != AF_INET6) {
        return system(socket, address, length);
    }
    std::memcpy(&changed, address, sizeof changed);
    if (IN6_IS_ADDR_LOOPBACK(&changed.sin6_addr)) {
        const unsigned char mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
        std::memcpy(&changed.sin6_addr, mapped, sizeof mapped);
    }
    return system(socket, reinterpret_cast<const sockaddr*>(&changed), sizeof changed);
}
}  // namespace

extern "C" int bind(int socket, const sockaddr* address, socklen_t length) {
    return call("bind", socket, address, length);
}

extern "C" int connect(int socket, const sockaddr* address, socklen_t length) {
    return call("connect", socket, address, length);
}
