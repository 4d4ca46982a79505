#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "store/send/stored_end.h"
#include "wal/segment.h"

namespace weir::store {

/// How far a store lags behind an archive that is uploaded continuously, and why. A value.
struct StoreView {
  using SystemTime = std::chrono::system_clock::time_point;

  std::string store{};                        ///< "s3://BUCKET/PREFIX/NAME"
  std::uint64_t pending_segments = 0;         ///< complete, and not known to be in the store
  std::uint64_t pending_histories = 0;        ///< likewise
  std::uint64_t pending_bytes = 0;            ///< of these, on disk
  std::string next{};                         ///< the first of these
  std::optional<SystemTime> pending_since{};  ///< when that one was completed
  /// The newest segment up to which, on its timeline, everything found in the archive is stored.
  std::optional<wal::SegmentName> sent_to{};
  std::optional<wal::Lsn> sent_lsn{};  ///< its end

  /// Up to where the store has the WAL being streamed; nullopt: unknown, or not requested.
  std::optional<StoredEnd::Position> stored_end{};
  /// End of the newest object of a partial segment (--store-partial-interval), and when it was
  /// sent.
  std::optional<wal::Lsn> open_lsn{};
  std::optional<SystemTime> open_sent{};
  std::uint64_t open_objects = 0;  ///< sent since the start

  // Counted since the start.
  std::uint64_t sent_files = 0;  ///< that count as sent, including files uploaded by others
  std::uint64_t sent_bytes = 0;
  std::map<std::string, std::uint64_t> failures{};  ///< by reason, as in Problem
  std::uint64_t removed_files = 0;                  ///< from the archive, by --local-retention
  std::uint64_t not_compared = 0;                   ///< existed, and could not be compared
  std::uint64_t sent_again = 0;                     ///< objects that had been sent and were missing
  std::optional<SystemTime> last_success{};

  /// The manifest chain as last written.
  struct Manifest {
    std::string chain;  ///< its name
    std::uint64_t lines = 0;
    std::string head{};       ///< hash of the last one
    std::string full_head{};  ///< as of the last full object; empty: there is none
    bool is_signed = false;
  };
  std::optional<Manifest> manifest{};

  /// A problem that prevents uploads.
  struct Problem {
    std::string text;
    std::string hint{};
    std::string reason{};  ///< a keyword: "throttled", "conflict"
    bool needs_person = false;
    SystemTime since{};
  };
  std::optional<Problem> problem{};
  std::optional<SystemTime> next_try{};
  /// Why --local-retention removes nothing although it should.
  std::string kept_for{};

  /// How long the oldest of the pending files has been complete; nullopt: there is none.
  [[nodiscard]] std::optional<std::chrono::seconds> oldest_pending(SystemTime now) const {
    if (!pending_since) return std::nullopt;
    return std::max(std::chrono::seconds(0),
                    std::chrono::duration_cast<std::chrono::seconds>(now - *pending_since));
  }
};

}  // namespace weir::store
