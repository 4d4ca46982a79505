#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "archive/durable_end.h"
#include "io/directory.h"

namespace weir::store {
class NearShelf;
}  // namespace weir::store

namespace weir::restore {

using archive::DurableEnd;
/// Asks the receiver that streams into the archive of this path, as archive::AskDurableEnd does.
using AskReceiver = std::function<std::optional<DurableEnd>(const std::string& archive)>;

/// Archives of one cluster, in the order in which they are queried. Not owned; at least one.
using Shelves = std::span<io::Shelf* const>;

struct Options {
  bool verify = true;            ///< false: only the frame's checksum and the size
  bool partial = false;          ///< the .partial as the last resort
  bool partial_damaged = false;  ///< also one that is damaged before its end
  /// Restore everything up to the last valid record before the first hole of the history, and then
  /// end the recovery. Includes `partial`.
  bool up_to_hole = false;
  /// If a complete segment is damaged in every copy, restore its valid part before the damage.
  /// Includes `partial_damaged`.
  bool up_to_damage = false;
  bool gap_is_absence = false;
  bool empty_is_absence = false;
  /// Appended to the hint if there is no WAL at all: how to declare that this is intended.
  std::string_view if_empty_is_right =
      " If an empty archive is as it should be (for a standby that streams): --allow-empty.";
  /// With several archives: take the first valid copy, and do not check the others.
  bool first_sound = false;
  /// With several archives: ignore those that do not respond, as if they were not named. At least
  /// one must respond.
  bool without_silent = false;
  /// System identifier of the cluster being recovered; nullopt if unknown: then that of the
  /// archive's newest segment.
  std::optional<std::uint64_t> system_identifier;
  /// The server learns of no timelines without having their history: a recovery that is not a
  /// standby's has chosen its target before it requests WAL, and has that history in its pg_wal. It
  /// therefore goes to the end of a timeline whose descendants it does not know.
  bool target_is_chosen = false;
  /// The server is a standby: it does not end its recovery at a file that is absent.
  bool standby = false;
  /// Index among the archives of an object store, which is the second copy of the archives before
  /// it: it is queried for files that they lack, and not compared with them. They may be empty, as
  /// long as not all are.
  std::optional<std::size_t> store;
  /// That store, for further queries before a file is reported as absent; nullptr: no store. Not
  /// owned.
  store::NearShelf* stored = nullptr;
  /// A .partial that is being written is read up to this position; unset: no receiver is queried.
  AskReceiver durable_end = nullptr;
};

}  // namespace weir::restore
