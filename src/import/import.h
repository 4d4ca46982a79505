#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "archive/losses.h"
#include "archive/unvouched.h"
#include "import/offers.h"
#include "io/directory.h"

namespace weir::importing {

struct Options {
  bool extend = false;           ///< also before and behind what the archive holds
  bool replace_damaged = false;  ///< ours that fail their own check
  bool dry_run = false;
  /// A receiver is at work on the archive. If none is, the caller holds the archive's lock.
  bool receiver = false;
  archive::AskDurableEnd durable_end = nullptr;
  /// Called when it is known that no receiver that starts can come in the way: the lock may go.
  std::function<void()> release_lock = nullptr;
  /// Asked now and then: so much more WAL was read. True ends it with Error{retry}.
  std::function<bool(std::uint64_t moved)> stop = nullptr;
  /// Told when the file is durable under that name.
  std::function<void(const std::string& name, const std::string& from)> came_in = nullptr;
  std::string now{};  ///< for records
  /// What was found to be no source before: told with the rest.
  std::vector<LeftOut> left_out{};
};

struct Result {
  struct Came {
    std::string name;  ///< in the archive
    std::string from;
    bool replaced = false;
    bool operator==(const Came&) const = default;
  };
  std::vector<Came> came;  ///< published; of a dry run what would be
  std::vector<LeftOut> left_out;
  std::size_t present = 0;                 ///< files offered that the archive has already
  std::vector<std::string> closed;         ///< ids of losses
  std::vector<std::string> holes;          ///< that remain, in words
  std::vector<std::string> touched;        ///< of them, those in which the sources have something
  std::vector<archive::Loss> minimal_wal;  ///< periods of wal_level=minimal that were recorded
  std::vector<archive::Unvouched> unvouched;  ///< that remain; a complaint: it does not fit
  std::size_t named = 0;                      ///< files that were named as such
  std::size_t named_in = 0;                   ///< of them: durably in the archive by now, or before
  /// What was asked for and is not so, beside holes and files: in words.
  std::vector<std::string> open;

  /// The worst of what was left out.
  [[nodiscard]] Reason reason() const;
  /// Each file that was named is in the archive, and no hole is left that the sources touch.
  [[nodiscard]] bool done() const { return named_in == named && touched.empty() && open.empty(); }
};

/// Takes in what the archive lacks: segments that fill its holes, and histories. Everything is
/// checked as received WAL is, from what the archive has before a run of segments to what it has
/// behind it, before the first of them gets its name. Nothing that is there is touched.
///
/// Segments are published from left to right, one after the other, each durable before the next:
/// so at every moment a hole has only become shorter, and shows by names and records as before. In
/// front of the archive, and if segments match the archive only on their right, it goes from right
/// to left, so that no new hole appears. Periods of wal_level=minimal are recorded as losses before
/// the WAL gets its name. A timeline's history comes before its first segment; the record of what
/// nobody can vouch for on one side comes before the first of those segments.
///
/// A receiver or a compressor may be at work; beside a prune it does not begin (upkeep.h), and one
/// that is not ours, as archive_cleanup_command, is looked for before each name. Throws
/// Error{conflict} if the archive's own identity cannot be told, Error{disk_full, durability, io,
/// retry}: then what was published is whole.
[[nodiscard]] Result import_wal(io::Directory& archive, const std::vector<Source>& sources,
                                const Options& options);

}  // namespace weir::importing
