#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "archive/serving_view.h"
#include "cli/slot_table.h"

namespace weir::cli {

// The slots that `pgweir serve` keeps beside an archive, whether it runs or not.

/// Who has them is asked for so long, else it is what the file says. Throws Error{retry} where they
/// have not answered by then, Error{damage, io}.
[[nodiscard]] std::vector<archive::ServedSlot> list_archive_slots(const std::string& directory,
                                                                  std::chrono::milliseconds time);
/// As who has them tells of them (relay/slots_report.h); `from` is for errors. Throws
/// Error{protocol}.
[[nodiscard]] std::vector<archive::ServedSlot> slots_of_report(const std::string& json,
                                                               const std::string& from);
/// What the file says.
[[nodiscard]] std::vector<archive::ServedSlot> read_archive_slots(const std::string& directory);
[[nodiscard]] SlotRow row_of(const archive::ServedSlot& slot);

/// False: there is none of that name. Durable when it returns. Throws Error{retry} if somebody uses
/// it.
bool drop_archive_slot(const std::string& directory, const std::string& name);

}  // namespace weir::cli
