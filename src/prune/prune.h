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
  /// The first segment, or the segment with the first byte, that must be kept.
  std::optional<std::variant<wal::Lsn, wal::SegmentName>> keep_from = std::nullopt;
  std::vector<archive::BackupPoint> backups{};  ///< each must stay recoverable
  /// Backups whose end is unknown: the WAL from their start on is kept, regardless of other rules.
  std::vector<archive::BackupPoint> doubtful{};
  /// Only files that were last written this long before `now`.
  std::optional<std::chrono::milliseconds> older_than = std::nullopt;
  std::chrono::system_clock::time_point now{};
};

/// The files to remove, oldest first: every file of a segment below `keep_from`, on any timeline,
/// including damaged ones that an import has replaced and kept under hidden names. History files
/// and files other than segments are kept.
struct Plan {
  struct Segment {
    wal::SegmentName name;
    std::vector<std::string> files{};  ///< in the order of their removal
  };
  std::vector<std::vector<Segment>> numbers{};  ///< the segments of one number, by number
  std::size_t files = 0;
  std::uint64_t bytes = 0;
  /// WAL that would be removed, except that a client of the relay may still request it, or that it
  /// has not been uploaded.
  struct HeldBack {
    std::string slot;       ///< empty: it has not been uploaded
    wal::Lsn restart_lsn;   ///< where the WAL begins that is kept
    std::string segment;    ///< the first one that is kept for it, on any timeline
    std::size_t files = 0;  ///< that are kept for this reason, and perhaps for others, too
    std::uint64_t bytes = 0;
    std::string store{};  ///< which does not have it
  };
  std::vector<HeldBack> held_back{};  ///< ordered by the amount retained, largest first
  std::string keep_from{};            ///< the first segment that is kept, "" if nothing is known
  std::string reason{};               ///< what decided that
  /// The first segment from a backup's start to its end, or the one that has its checkpoint, if
  /// only Homes::source has it. Nothing is removed then, and `reason` names the backup. "": each
  /// backup's are here.
  std::string awaited{};
  /// It will not come: it is the partial segment of a timeline that was left before the backup's
  /// end, so that only Homes::source can bring the backup to consistency.
  bool never_comes = false;
};

/// The archive that is pruned, and its copies. Not owned; they may be the same.
struct Homes {
  io::Shelf& pruned;  ///< its files are removed
  io::Shelf& whole;   ///< the archive with its other copy, if it has one: determines whether a
                      ///< backup's WAL exists, and the newest WAL
  io::Shelf& slots;   ///< has the file of the relay's slots
  /// The cluster of the WAL, according to a store's own record: for an encrypted store.
  std::optional<archive::Identity> identity{};
  /// The copy that `pruned` is uploaded from; nullptr: none. A backup whose first segment,
  /// checkpoint or end is only there is no error.
  io::Shelf* source = nullptr;
  /// `pruned` is such a copy, without the source: a backup's WAL up to its end must be there, as
  /// far as the end is known.
  bool alone = false;
};

/// In words.
[[nodiscard]] std::string text_of(const Plan::HeldBack& held);

/// Makes the plan; changes nothing. WAL that a slot of the relay retains is kept, regardless of
/// other rules (archive/kept_slots.h): if the slot file is older than the relay's state, more is
/// kept than needed. The same applies to WAL that is still to be uploaded: complete segments that
/// the archive's mark, if there is one, lacks (store/ledger/mark.h). Throws Error{damage} if the
/// slot file or the mark cannot be read. Throws Error{usage} for insufficient options,
/// Error{conflict} if they would make a backup or the newest segments unusable, or if a backup's
/// checkpoint is damaged in the archive; Error{retry} if the archive does not have it yet, or lacks
/// WAL before its end (Homes::alone); Error{io}.
[[nodiscard]] Plan make_plan(const Homes& homes, const Options& options);
[[nodiscard]] Plan make_plan(io::Shelf& archive, const Options& options);

/// Removes the files of the plan. Before the first number and after each, the directory is flushed:
/// a power failure at any time leaves no gap that was not there before. `stop` is queried between
/// numbers; returns false when it returns true. The caller must hold Upkeep since before the plan
/// was made, so that no import is running. Takes no lock: a running receiver does not use the
/// segments that are removed, and its compressor skips a segment whose raw file has been removed,
/// up to the moment before it renames its file. A file renamed after that check is removed at the
/// end of this prune, or by the next one.
bool carry_out(io::Directory& directory, const Plan& plan, const std::function<bool()>& stop,
               const std::function<void(const std::string& file)>& removed);

/// The same in an object store, oldest first, a thousand objects for each request. `kept` is called
/// for each object that the store did not delete, with the reason: the others are removed anyway.
/// What fails for a temporary reason is retried with `patience`; then StoreError is thrown if it is
/// a request as a whole (store/removal.h). `keys_of`: the objects that a file consists of.
using KeysOf = std::function<std::vector<std::string>(const std::string& file)>;
bool carry_out(store::ObjectStore& store, const KeysOf& keys_of, const Plan& plan,
               const std::function<bool()>& stop,
               const std::function<void(const std::string& file)>& removed,
               const std::function<void(const store::Kept& kept)>& kept,
               const store::Patience& patience = store::kOnce);

}  // namespace weir::prune
