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

/// Archives of one cluster, in the order in which they are asked. Not owned; one at least.
using Shelves = std::span<io::Shelf* const>;

struct Options {
  bool verify = true;            ///< false: only the frame's checksum and the size
  bool partial = false;          ///< the .partial as the last resort
  bool partial_damaged = false;  ///< also one that is damaged before its end
  /// Everything up to the last sound record before the first hole on the way, and then the end of
  /// the recovery. Includes `partial`.
  bool up_to_hole = false;
  /// Of a finished segment that is damaged in every copy, what is sound before the damage. Includes
  /// `partial_damaged`.
  bool up_to_damage = false;
  bool gap_is_absence = false;
  bool empty_is_absence = false;
  /// Said behind the hint where there is no WAL at all: how the command is told that this is right.
  std::string_view if_empty_is_right =
      " If an empty archive is as it should be (for a standby that streams): --allow-empty.";
  /// Of several archives: the first sound copy is taken, and the others are not looked at.
  bool first_sound = false;
  /// Of several archives, those that do not answer are left out, as if they were not named. One at
  /// least has to answer.
  bool without_silent = false;
  /// Of the cluster that is being recovered, nullopt if it is not known: then it is that of the
  /// archive's newest segment.
  std::optional<std::uint64_t> system_identifier;
  /// The server learns of no timelines that it has no history of: a recovery that is no standby's
  /// has chosen its target before it asks for WAL, and has that history in its pg_wal. So it goes
  /// to the end of a timeline whose descendants it does not know.
  bool target_is_chosen = false;
  /// The place among the archives of an object store, which is the second home of those before it:
  /// it is asked for what they lack, and not compared with what they have. They may be empty, as
  /// long as not all are.
  std::optional<std::size_t> store;
  /// That store, to be asked what else it knows before a file is told as absent; nullptr: nobody
  /// is. Not owned.
  store::NearShelf* stored = nullptr;
  /// A .partial is read up to there while it is being written; unset: nobody is asked.
  AskReceiver durable_end = nullptr;
};

}  // namespace weir::restore
