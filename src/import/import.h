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
  bool extend = false;           ///< also before and after the archive's WAL
  bool replace_damaged = false;  ///< ours that fail their own check
  bool dry_run = false;
  /// A receiver is running on the archive. If not, the caller holds the archive's lock.
  bool receiver = false;
  archive::AskDurableEnd durable_end = nullptr;
  /// Called when no receiver that starts can interfere: the lock may be released.
  std::function<void()> release_lock = nullptr;
  /// Asked now and then: so much more WAL was read. True ends it with Error{retry}.
  std::function<bool(std::uint64_t moved)> stop = nullptr;
  /// Told when the file is durable under that name.
  std::function<void(const std::string& name, const std::string& from)> came_in = nullptr;
  std::string now{};  ///< for records
  /// Files rejected as sources before; reported with the rest.
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
  /// Requests that are not fulfilled, apart from holes and files: in words.
  std::vector<std::string> open;

  /// The worst reason among the skipped files.
  [[nodiscard]] Reason reason() const;
  /// Each file that was named is in the archive, and no hole is left that the sources touch.
  [[nodiscard]] bool done() const { return named_in == named && touched.empty() && open.empty(); }
};

/// Adds WAL that the archive lacks: segments that fill its holes, and histories. Everything is
/// verified like received WAL, from the archive's WAL before a run of segments to the WAL after it,
/// before the first of them is renamed into place. Existing files are not changed.
///
/// Segments are published from left to right, one after the other, each durable before the next: at
/// every moment, a hole has only become shorter, and is shown by names and records as before.
/// Before the start of the archive, and if segments match the archive only on their right, the
/// order is from right to left, so that no new hole appears. Periods of wal_level=minimal are
/// recorded as losses before the WAL is renamed into place. A timeline's history is published
/// before its first segment; the record of a side that could not be verified, before the first of
/// those segments.
///
/// A receiver or a compressor may be running. It does not start while a prune is running
/// (upkeep.h), and checks for foreign ones, such as archive_cleanup_command, before each rename.
/// Throws Error{conflict} if the archive's own identity cannot be determined, Error{disk_full,
/// durability, io, retry}: then the published files are complete.
[[nodiscard]] Result import_wal(io::Directory& archive, const std::vector<Source>& sources,
                                const Options& options);

}  // namespace weir::importing
