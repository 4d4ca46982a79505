#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "io/shelf.h"
#include "wal/lsn.h"

namespace weir::archive {

/// What the last "pgweir verify" or "pgweir drill" of an archive found: the files
/// ".pgweir-last-verify" and ".pgweir-last-drill" in its directory (JSON,
/// docs/archive-directory.md). A value.
struct LastCheck {
  enum class Kind { verify, drill };
  /// What else a verification has read and compared. A later one has shown more.
  enum class Beside { none, archive, store };

  std::chrono::system_clock::time_point time{};  ///< of the end of the check; milliseconds count
  bool passed = false;
  bool whole = true;             ///< false: of a part; of a drill, not to the archive's end
  Beside beside = Beside::none;  ///< of a failure: what one that passes has to read to replace it
  wal::TimelineId timeline = 0;  ///< 0: unknown
  wal::Lsn from{};               ///< 0/0: unknown
  wal::Lsn to{};                 ///< verify: end of the valid WAL; drill: the position reached
  std::uint64_t problems = 0;    ///< without gaps and other losses
  std::string problem{};         ///< the first one
  std::string backup{};          ///< drill: the base backup that was recovered
  bool operator==(const LastCheck&) const = default;

  /// "0/1000000 to 0/9000000 on timeline 1"; empty: unknown.
  [[nodiscard]] std::string range() const;
};

/// Replaces the record of an earlier check. A check that passed leaves the record of one that
/// failed if it was of a part, or did not read the object store or other archive that was read
/// then: what was found need not be in what it has read. Nor does a verification of a part replace
/// one of the whole archive that passed: only that one shows since when all of it is known to be
/// sound. Not synced: only the knowledge of a check is lost with it. `directory` is a path. Throws
/// Error{io, disk_full}; Error{conflict} for a server's own directory, in which nothing is written.
void keep_last_check(const std::string& directory, LastCheck::Kind kind, const LastCheck& check);
/// nullopt: there is none, it cannot be read, or it passed and came along with a copy of the
/// directory that it is about. Throws Error{io}.
[[nodiscard]] std::optional<LastCheck> read_last_check(io::Shelf& shelf, LastCheck::Kind kind);

}  // namespace weir::archive
