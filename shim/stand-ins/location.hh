// SPDX-License-Identifier: MPL-2.0
// Stands in for the location.hh of libkea-eval's parser, which Debian 12's kea-dev leaves out and
// eval/parser.h includes. The parser's own code is in Kea's library; the library calls nothing of
// this header.
#pragma once

#include <ostream>
#include <string>

namespace isc::eval {

class position {};

class location {
  public:
    position begin;
    position end;
};

inline std::ostream& operator<<(std::ostream& stream, const location&) { return stream; }

}  // namespace isc::eval
