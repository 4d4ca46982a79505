#pragma once

#include <cstdint>
#include <string>

namespace weir::wal {

/// The name of a resource manager as pg_waldump prints it ("Heap2", "Btree"; access/rmgrlist.h),
/// "custom130" for extensions, "UNKNOWN (90)" for invalid ids.
[[nodiscard]] std::string resource_manager_name(std::uint8_t id);

}  // namespace weir::wal
