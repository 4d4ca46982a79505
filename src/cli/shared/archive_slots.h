#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "archive/serving_view.h"
#include "cli/slot_table.h"

namespace weir::cli {

// The slots of `pgweir serve` in an archive, whether it runs or not.

/// Queries the process that has them for at most `time`; without such a process, reads the file.
/// Throws Error{retry} if it has not answered by then, Error{damage, io}.
[[nodiscard]] std::vector<archive::ServedSlot> list_archive_slots(const std::string& directory,
                                                                  std::chrono::milliseconds time);
/// From the report of the process that has them (relay/slots_report.h); `from` is for errors.
/// Throws Error{protocol}.
[[nodiscard]] std::vector<archive::ServedSlot> slots_of_report(const std::string& json,
                                                               const std::string& from);
/// Reads the file's content.
[[nodiscard]] std::vector<archive::ServedSlot> read_archive_slots(const std::string& directory);
[[nodiscard]] SlotRow row_of(const archive::ServedSlot& slot);

/// Returns false if there is no slot of that name. Durable when it returns. Throws Error{retry} if
/// it is in use.
bool drop_archive_slot(const std::string& directory, const std::string& name);

}  // namespace weir::cli
