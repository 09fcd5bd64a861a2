// SPDX-License-Identifier: MPL-2.0
// What differs between the versions of Kea: parking at subnet4_select, the header that splits
// texts, the name of a parsed expression, how a class is tested, and functions that one version
// lacks.
#pragma once

#include <eval/evaluate.h>
#include <exceptions/exceptions.h>
#include <hooks/hooks.h>

// isc::util::str::tokens: util/strutil.h became util/str.h in 2.5.
#if __has_include(<util/str.h>)
#include <util/str.h>
#else
#include <util/strutil.h>
#endif

// What a host data source of Kea 2.2 has not: there, a function of this name is one of the
// library's own. (KEA_HOOKS_VERSION is a constant, which the preprocessor takes for 0.)
#if __has_include(<util/str.h>)
#define IN_LATER_KEA override
#else
#define IN_LATER_KEA
#endif

#include <boost/shared_ptr.hpp>
#include <type_traits>

// Pkt::addClass(const ClientClass&, bool), which packet.cc calls and 3.0 does not have. A weak
// reference lets Kea 3.0 open a library that was built for an earlier version, and refuse it by its
// version. ClientClassDef::getRequired(), which queries.cc calls, is getAdditional() in 3.0.
// CfgSubnets4::getBySubnetId(), which hosts.cc calls, is a function of that name in 2.2 alone.
// HostDataSourceFactory::registerFactory(), which host_source.cc calls, has one more argument
// in 3.0. All versions have the other functions that the shim calls.
__asm__(".weak _ZN3isc4dhcp3Pkt8addClassERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEb");
__asm__(".weak _ZNK3isc4dhcp14ClientClassDef11getRequiredEv");
__asm__(".weak _ZNK3isc4dhcp14ClientClassDef13getAdditionalEv");
__asm__(".weak _ZNK3isc4dhcp11CfgSubnets413getBySubnetIdERKj");
// clang-format off
__asm__(".weak _ZN3isc4dhcp21HostDataSourceFactory15registerFactoryERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERKSt8functionIFN5boost10shared_ptrINS0_18BaseHostDataSourceEEERKSt3mapIS7_S7_St4lessIS7_ESaISt4pairIS8_S7_EEEEEb");
__asm__(".weak _ZN3isc4dhcp21HostDataSourceFactory15registerFactoryERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERKSt8functionIFN5boost10shared_ptrINS0_18BaseHostDataSourceEEERKSt3mapIS7_S7_St4lessIS7_ESaISt4pairIS8_S7_EEEEEbSA_IFS7_vEE");
// clang-format on

namespace isc::dhcp {
// Declared here, because its header, dhcpsrv/subnet.h, includes headers that Debian's kea-dev does
// not have.
class Subnet4;
}  // namespace isc::dhcp

namespace remote_opts {

// Whether a packet can be parked at subnet4_select: from 2.5 on.
constexpr bool CAN_PARK = KEA_HOOKS_VERSION >= 20500;

// The type of the argument "subnet4", and of the context from which the server reads the subnet of
// a packet that was parked: const from 2.7 on.
using SelectedSubnet = boost::shared_ptr<
    std::conditional_t<(KEA_HOOKS_VERSION >= 20700), const isc::dhcp::Subnet4, isc::dhcp::Subnet4>>;

// The parsed expression of an isc::eval::EvalContext: its member `expression`, `expression_` from
// 2.7 on.
template <typename Context>
auto parsed_expression(const Context& context, int) -> decltype(context.expression) {
    return context.expression;
}
template <typename Context>
auto parsed_expression(const Context& context, long) -> decltype(context.expression_) {
    return context.expression_;
}

// Whether a class is evaluated only where a subnet or a pool asks for it.
template <typename Class>
auto is_additional(const Class& definition, int) -> decltype(definition.getAdditional()) {
    return definition.getAdditional();
}
template <typename Class>
auto is_additional(const Class& definition, long) -> decltype(definition.getRequired()) {
    return definition.getRequired();
}

// Puts a query into a class if the class's expression is true of the query. From 2.5 on, a class
// does so itself. An expression that cannot be evaluated counts as false, as in Kea.
template <typename Class, typename Query, typename Expression>
auto test_class(Class& definition, const Query& query, const Expression& expression, int)
    -> decltype(definition.test(query, expression)) {
    definition.test(query, expression);
}
template <typename Class, typename Query, typename Expression>
void test_class(Class& definition, const Query& query, const Expression& expression, long) {
    try {
        if (isc::dhcp::evaluateBool(*expression, *query)) {
            query->addClass(definition.getName());
        }
    } catch (const isc::Exception&) {
    }
}

}  // namespace remote_opts
