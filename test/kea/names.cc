// SPDX-License-Identifier: MPL-2.0
// The system's resolver for a Kea of the tests: LD_PRELOAD puts it before the C library. The
// environment variable REMOPTS_TEST_NAMES maps names to addresses, "name=address,address;…". A name
// with "hangs" in the place of an address is never resolved; a name with "fails" is unknown.
// "@file" stands for what the file says at the time, and a name hangs for as long as the file says
// so. Standard error tells of each look-up.
#include <dlfcn.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace {
// The addresses of a name, as the environment has them; empty where it does not have the name.
std::string addresses_of(const std::string& name) {
    const char* const names = std::getenv("REMOPTS_TEST_NAMES");
    std::stringstream entries(names ? names : "");
    if (entries.peek() == '@') {
        const std::ifstream file(names + 1);
        entries.str("");
        entries << file.rdbuf();
    }
    for (std::string entry; std::getline(entries, entry, ';');) {
        if (entry.compare(0, name.size() + 1, name + "=") == 0) {
            return entry.substr(name.size() + 1);
        }
    }
    return "";
}
}  // namespace

extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints,
                           addrinfo** result) {
    using Function = decltype(&getaddrinfo);
    static const Function system = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "getaddrinfo"));
    std::string all = name ? addresses_of(name) : "";
    if (all.empty()) {
        return system(name, service, hints, result);
    }
    std::fprintf(stderr, "getaddrinfo: %s\n", name);
    while (all == "hangs") {
        usleep(20000);
        all = addresses_of(name);
    }
    if (all == "fails") {
        return EAI_NONAME;
    }
    std::istringstream addresses(all);
    addrinfo** end = result;
    for (std::string address; std::getline(addresses, address, ',');) {
        if (const int error = system(address.c_str(), service, hints, end)) {
            return error;
        }
        while (*end) {
            end = &(*end)->ai_next;
        }
    }
    return 0;
}
