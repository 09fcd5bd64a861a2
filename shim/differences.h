// What differs between the versions of Kea: the hook point subnet4_select, where Kea splits texts, what it
// calls a parsed expression, and what its own headers want beside them.
#pragma once

// dhcpsrv/cfgmgr.h of 3.0 includes a header that wants Kea's config.h, which is not installed: to be included
// first.
#define CONFIG_H_WAS_INCLUDED 1
#define WITH_OPENSSL 1

#include <hooks/hooks.h>

// isc::util::str::tokens: util/strutil.h became util/str.h in 2.5.
#if __has_include(<util/str.h>)
#include <util/str.h>
#else
#include <util/strutil.h>
#endif

#include <boost/shared_ptr.hpp>
#include <type_traits>

// Pkt::addClass(const ClientClass&, bool), which 3.0 does not have. Weak, so that the library of an earlier
// version can be opened there, and be refused by its version. (The other functions are in all versions.)
__asm__(".weak _ZN3isc4dhcp3Pkt8addClassERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEb");

namespace isc::dhcp {
// Its header, dhcpsrv/subnet.h, wants others that Debian's kea-dev does not have.
class Subnet4;
}  // namespace isc::dhcp

namespace remote_opts {

// Whether a packet can be parked at subnet4_select: from 2.5 on.
constexpr bool CAN_PARK = KEA_HOOKS_VERSION >= 20500;

// The type of the argument "subnet4", and of the context in which the server looks for it when the packet
// goes on: const from 2.7 on.
using SelectedSubnet = boost::shared_ptr<
    std::conditional_t<(KEA_HOOKS_VERSION >= 20700), const isc::dhcp::Subnet4, isc::dhcp::Subnet4>>;

// The member of isc::eval::EvalContext with the parsed expression: expression, expression_ from 2.7 on.
template <typename Context>
auto parsed_expression(const Context& context, int) -> decltype(context.expression) {
    return context.expression;
}
template <typename Context>
auto parsed_expression(const Context& context, long) -> decltype(context.expression_) {
    return context.expression_;
}

}  // namespace remote_opts
