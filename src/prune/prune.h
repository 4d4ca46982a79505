#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "archive/backup_point.h"
#include "archive/identity.h"
#include "io/directory.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::prune {

struct Options {
  /// The first segment, or the segment with the first byte, that has to stay.
  std::optional<std::variant<wal::Lsn, wal::SegmentName>> keep_from = std::nullopt;
  std::vector<archive::BackupPoint> backups{};  ///< each has to stay recoverable
  /// What nobody knows the end of: nothing from their start on goes, whatever else is said.
  std::vector<archive::BackupPoint> doubtful{};
  /// Only files that were last written this long before `now`.
  std::optional<std::chrono::milliseconds> older_than = std::nullopt;
  std::chrono::system_clock::time_point now{};
};

/// What goes, oldest first: every file of a segment below `keep_from`, on any timeline, damaged
/// ones that an import has replaced and kept, hidden, among them. History files stay, and so does
/// whatever is no segment.
struct Plan {
  struct Segment {
    wal::SegmentName name;
    std::vector<std::string> files{};  ///< as they are to be removed
  };
  std::vector<std::vector<Segment>> numbers{};  ///< the segments of one number, by number
  std::size_t files = 0;
  std::uint64_t bytes = 0;
  /// What would go, but for a client of the relay who may still ask for it.
  struct HeldBack {
    std::string slot;
    wal::Lsn restart_lsn;
    std::string segment;    ///< the first one that stays for it, of whichever timeline
    std::size_t files = 0;  ///< that stay for this slot, and maybe for others, too
    std::uint64_t bytes = 0;
  };
  std::vector<HeldBack> held_back{};  ///< what holds back most is in front
  std::string keep_from{};            ///< the first segment that stays, "" if nothing is known
  std::string reason{};               ///< what decided that
};

/// What has to do with the archive that is pruned. Not owned; each may be the same.
struct Homes {
  io::Shelf& pruned;  ///< what it has goes
  io::Shelf& whole;   ///< with its other home, if it has one: whether there is a backup's WAL, and
                      ///< what the newest is
  io::Shelf& slots;   ///< has the file of the relay's slots
  /// Whose WAL it is, as a store's own record says: for one that is encrypted.
  std::optional<archive::Identity> identity{};
};

/// Decides; changes nothing. What a slot of the relay needs stays, whatever else is said
/// (archive/kept_slots.h): where their file is behind what the relay knows by now,
/// more stays than is needed. Throws Error{damage} if it
/// cannot be read. Throws Error{usage} for options that say too little, Error{conflict}
/// if what they say would cut off a backup or the newest segments, or if a backup's checkpoint is
/// damaged in the archive; Error{retry} if the archive does not have it yet; Error{io}.
[[nodiscard]] Plan make_plan(const Homes& homes, const Options& options);
[[nodiscard]] Plan make_plan(io::Shelf& archive, const Options& options);

/// Removes what the plan says. Before the first number and after each the directory is synced:
/// whenever the power fails, what is left has no gap that was not there before. `stop` is asked
/// between numbers; false is returned when it says true. The caller holds Upkeep since before the
/// plan was made, so that no import is at work. Takes no lock: a receiver at work has nothing to do
/// with the segments that go, and its compressor drops a segment whose raw form has gone, up to the
/// moment before it gives its file a name. A name given after that look is removed at the end of
/// this prune, or by the next one.
bool carry_out(io::Directory& directory, const Plan& plan, const std::function<bool()>& stop,
               const std::function<void(const std::string& file)>& removed);

/// The same in an object store, oldest first, a thousand objects a request. `kept` is told each one
/// that the store did not let go, and why: the others go all the same. A request that fails as a
/// whole is retried with `patience`; then it ends with StoreError. `keys_of`: the objects that a
/// file is there.
using KeysOf = std::function<std::vector<std::string>(const std::string& file)>;
bool carry_out(store::ObjectStore& store, const KeysOf& keys_of, const Plan& plan,
               const std::function<bool()>& stop,
               const std::function<void(const std::string& file)>& removed,
               const std::function<void(const store::ObjectStore::Kept& kept)>& kept,
               const store::Patience& patience = store::kOnce);

}  // namespace weir::prune
