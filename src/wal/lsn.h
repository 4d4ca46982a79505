#pragma once

#include <fmt/format.h>

#include <string>

#include "pgweir/lsn.h"

namespace weir::wal {

using weir::Lsn;
using weir::TimelineId;

}  // namespace weir::wal

template <>
struct fmt::formatter<weir::Lsn> : fmt::formatter<std::string> {
  template <typename Context>
  auto format(weir::Lsn lsn, Context& context) const {
    return fmt::formatter<std::string>::format(lsn.to_string(), context);
  }
};
