// SPDX-License-Identifier: MPL-2.0
// Preloaded into Kea under ThreadSanitizer (test/sanitize): tells it how Kea orders the owners of
// its objects.
//
// Kea's objects have shared owners. Atomics in Kea's own code count the owners, and ThreadSanitizer
// does not see these atomics. It would report what the last owner does as a race with each earlier
// use by another owner.

#include <dlfcn.h>

#include <cstddef>
#include <cstdlib>
#include <new>

// Of ThreadSanitizer's runtime.
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
extern "C" void AnnotateHappensBefore(const char* file, int line, void* address);
extern "C" void AnnotateHappensAfter(const char* file, int line, void* address);

// `delete` is no access to memory. AddressSanitizer and valgrind find a `delete` that comes too
// early.
void operator delete(void* memory) noexcept {
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    std::free(memory);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
}

void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

// The callouts of one packet come one after the other, and the end of its callout handle comes
// last. The handle owns what the library keeps for the packet. These two functions of Kea's are
// called instead of Kea's own, and call them.
#define CALL_CALLOUTS "_ZN3isc5hooks14CalloutManager12callCalloutsEiRNS0_13CalloutHandleE"
#define END_OF_HANDLE "_ZN3isc5hooks13CalloutHandleD1Ev"

void call_callouts(void* manager, int hook, void* handle) __asm__(CALL_CALLOUTS);
void call_callouts(void* manager, int hook, void* handle) {
    using Function = void (*)(void*, int, void*);
    static const auto kea = reinterpret_cast<Function>(dlsym(RTLD_NEXT, CALL_CALLOUTS));
    AnnotateHappensAfter(__FILE__, __LINE__, handle);
    kea(manager, hook, handle);
    AnnotateHappensBefore(__FILE__, __LINE__, handle);
}

void end_of_handle(void* handle) __asm__(END_OF_HANDLE);
void end_of_handle(void* handle) {
    using Function = void (*)(void*);
    static const auto kea = reinterpret_cast<Function>(dlsym(RTLD_NEXT, END_OF_HANDLE));
    AnnotateHappensAfter(__FILE__, __LINE__, handle);
    kea(handle);
}
