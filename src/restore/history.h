#pragma once

#include <optional>
#include <string>

#include "archive/listing.h"
#include "archive/timelines.h"
#include "base/log.h"
#include "io/shelf.h"
#include "wal/lsn.h"

namespace weir::restore {

class Archives;

/// Returns the content of a timeline's history file in any format; of several files, the first
/// valid one. Returns nullopt if there is none. Throws Error{io}, Error{damage} if a compressed
/// file is broken and there is no other.
[[nodiscard]] std::optional<std::string> read_history_file(io::Shelf& archive,
                                                           wal::TimelineId timeline);

/// The same, verified as far as the archive allows. A wrong history would send a recovery onto
/// wrong WAL without an error: it must therefore be valid, agree with the histories of the
/// timelines before and after it, and with the WAL: at its switchpoint there must be the record
/// that the server wrote then. Throws Error{damage, conflict}. With `verify` false it only has to
/// be valid.
[[nodiscard]] std::optional<std::string> read_checked_history(io::Shelf& archive,
                                                              wal::TimelineId timeline,
                                                              const archive::Listing& listing,
                                                              const archive::Timelines& timelines,
                                                              bool verify);

/// The same from all archives that respond, each by its own WAL: the first valid one. The others
/// must agree (a Contradiction otherwise) unless `first_sound`; invalid copies are logged. Returns
/// nullopt if no archive has it.
[[nodiscard]] std::optional<std::string> read_agreed_history(Archives& archives,
                                                             wal::TimelineId timeline, bool verify,
                                                             bool first_sound, Log& log);

}  // namespace weir::restore
