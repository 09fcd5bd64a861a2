// SPDX-License-Identifier: MPL-2.0
// Kea's logger "remote-opts-hooks": see log.h.

#include "kea-hook-remote-opts/shim/log.h"

#include <log/logger.h>
#include <log/message_initializer.h>

#include <string>

#include "kea-hook-remote-opts/src/ffi.rs.h"

namespace remote_opts {

namespace {

// `definitions`, which build.rs makes of messages/remopts_messages.mes.
#include "remopts_messages.inc"

// Kea reads the definitions when it has opened the library.
const isc::log::MessageInitializer initializer(definitions);

isc::log::Logger logger("remote-opts-hooks");

isc::log::Logger::Formatter formatter(Severity severity, std::int32_t debug_level,
                                      const std::string& id) {
    switch (severity) {
        case Severity::Debug:
            return logger.debug(debug_level, id.c_str());
        case Severity::Info:
            return logger.info(id.c_str());
        case Severity::Warn:
            return logger.warn(id.c_str());
        default:
            return logger.error(id.c_str());
    }
}

}  // namespace

bool log_enabled(Severity severity, std::int32_t debug_level) noexcept {
    try {
        switch (severity) {
            case Severity::Debug:
                return logger.isDebugEnabled(debug_level);
            case Severity::Info:
                return logger.isInfoEnabled();
            case Severity::Warn:
                return logger.isWarnEnabled();
            default:
                return logger.isErrorEnabled();
        }
    } catch (...) {
        // Kea's logging is broken, or not set up, as in a unit test: no line could say so.
        return false;
    }
}

void log_message(Severity severity, std::int32_t debug_level, rust::Str id,
                 rust::Slice<const rust::String> arguments) noexcept {
    try {
        auto message = formatter(severity, debug_level, std::string(id));
        for (const auto& argument : arguments) {
            message.arg(std::string(argument));
        }
    } catch (...) {
        // A line that cannot be written must not stop a packet.
    }
}

}  // namespace remote_opts
