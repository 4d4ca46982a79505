#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "store/stored_end.h"
#include "wal/segment.h"

namespace weir::store {

/// How far a store is behind an archive that is sent there all the time, and why. A value.
struct StoreView {
  using SystemTime = std::chrono::system_clock::time_point;

  std::string store{};                        ///< "s3://BUCKET/PREFIX/NAME"
  std::uint64_t pending_segments = 0;         ///< finished, and not surely in the store
  std::uint64_t pending_histories = 0;        ///< likewise
  std::uint64_t pending_bytes = 0;            ///< of them, on disk
  std::string next{};                         ///< the first of them
  std::optional<SystemTime> pending_since{};  ///< when that one was finished
  /// The newest segment before which, on its timeline, all that was found in the archive is there.
  std::optional<wal::SegmentName> sent_to{};
  std::optional<wal::Lsn> sent_lsn{};  ///< its end

  /// Up to where it has what streams; nullopt: not known, or nobody wants to know.
  std::optional<StoredEnd::Position> stored_end{};
  /// The newest object of an open segment goes up to there (--store-open), and when it was sent.
  std::optional<wal::Lsn> open_lsn{};
  std::optional<SystemTime> open_sent{};
  std::uint64_t open_objects = 0;  ///< sent since the start

  // Counted since the start.
  std::uint64_t sent_files = 0;  ///< that count as sent, whoever has put them there
  std::uint64_t sent_bytes = 0;
  std::map<std::string, std::uint64_t> failures{};  ///< by a word for each, as in Problem
  std::uint64_t removed_files = 0;                  ///< of the archive, by --keep-local
  std::uint64_t not_compared = 0;  ///< that were there, encrypted, and nobody could compare
  std::uint64_t sent_again = 0;    ///< objects that were sent, and were gone
  std::optional<SystemTime> last_success{};

  /// The chain of lines that tell of what is stored, as it was last written.
  struct Manifest {
    std::string chain;  ///< its name
    std::uint64_t lines = 0;
    std::string head{};       ///< hash of the last one
    std::string full_head{};  ///< as of the last full object; empty: there is none
    bool is_signed = false;
  };
  std::optional<Manifest> manifest{};

  /// What keeps files from being sent.
  struct Problem {
    std::string text;
    std::string hint{};
    std::string reason{};  ///< a word for it: "throttled", "conflict"
    bool needs_person = false;
    SystemTime since{};
  };
  std::optional<Problem> problem{};
  std::optional<SystemTime> next_try{};
  /// Why --keep-local removes nothing, where it should.
  std::string kept_for{};
};

/// One JSON object, as "pgweir status --json" shows it.
[[nodiscard]] std::string store_json(const StoreView& view);

}  // namespace weir::store
