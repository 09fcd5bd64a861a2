// SPDX-License-Identifier: MPL-2.0
// Expressions of Kea's own language: see expressions.h.

#include "kea-hook-remote-opts/shim/expressions.h"

#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/client_class_def.h>
#include <eval/eval_context.h>
#include <eval/evaluate.h>

#include <memory>
#include <string>

#include "kea-hook-remote-opts/shim/differences.h"
#include "kea-hook-remote-opts/shim/packet.h"
#include "kea-hook-remote-opts/src/callouts.rs.h"

using isc::dhcp::CfgMgr;
using isc::eval::EvalContext;

namespace remote_opts {

namespace {

// Whether member() may name this class: a class of the configuration that Kea is loading, or one of
// Kea's own.
bool is_class(const isc::dhcp::ClientClass& name) {
    const auto dictionary = CfgMgr::instance().getStagingCfg()->getClientClassDictionary();
    return isc::dhcp::isClientClassBuiltIn(name) || (dictionary && dictionary->findClass(name));
}

}  // namespace

std::unique_ptr<Expression> parse_expression(rust::Str text, bool boolean) {
    EvalContext context(isc::dhcp::Option::V4, is_class);
    context.parseString(std::string(text),
                        boolean ? EvalContext::PARSER_BOOL : EvalContext::PARSER_STRING);
    return std::make_unique<Expression>(parsed_expression(context, 0));
}

bool Expression::is_true(const Packet& query) const {
    return isc::dhcp::evaluateBool(expression_, *query.pointer());
}

void Expression::read(const Packet& query, rust::Vec<std::uint8_t>& value) const {
    const auto text = isc::dhcp::evaluateString(expression_, *query.pointer());
    append(value, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

}  // namespace remote_opts
