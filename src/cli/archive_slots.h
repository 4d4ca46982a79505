#pragma once

#include <string>
#include <vector>

#include "cli/slot_table.h"

namespace weir::cli {

// The slots that `pgweir serve` keeps beside an archive, whether it runs or not.

[[nodiscard]] std::vector<SlotRow> list_archive_slots(const std::string& directory);

/// False: there is none of that name. Durable when it returns. Throws Error{retry} if somebody uses
/// it.
bool drop_archive_slot(const std::string& directory, const std::string& name);

}  // namespace weir::cli
