#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <variant>
#include <vector>

#include "archive/backup_point.h"
#include "archive/identity.h"
#include "io/shelf.h"
#include "verify/report.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::verify {

/// A place in the WAL as users name it.
using Position = std::variant<wal::Lsn, wal::SegmentName>;

struct Options {
  std::optional<Position> from = std::nullopt;             ///< default: the start of the archive
  std::optional<Position> to = std::nullopt;               ///< exclusive; of a segment its end
  std::optional<wal::TimelineId> timeline = std::nullopt;  ///< only the history of this one
  unsigned jobs = 1;
  std::optional<archive::BackupPoint> backup = std::nullopt;  ///< checks from its start on
  std::vector<AcceptedLoss> accepted{};
  /// Asked if no page can be read, as of an encrypted archive without a key: whose WAL it is, and
  /// the segment size, without which no position is known. nullopt: unknown.
  std::function<std::optional<archive::Identity>()> told_identity{};
  /// Called now and then from any of the threads, one at a time: bytes of WAL done and in all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress{};
  /// Delay before missing files are looked up again: other processes may be moving them.
  std::chrono::milliseconds look_again_after{20};
  /// Asked between pieces; when true, verify() ends with Error{retry}.
  std::function<bool()> stop{};
};

/// Reads every segment, history by history, and reports WAL that a recovery would not find or could
/// not read. Never writes and takes no lock: a receiver, a compressor or a prune may run
/// concurrently; if a gap is filled meanwhile, all is read again. Throws Error{usage} for options
/// that this archive cannot meet, Error{io} if the directory itself cannot be read; an error in a
/// file is a finding.
[[nodiscard]] Report verify(io::Shelf& directory, const Options& options);

}  // namespace weir::verify
