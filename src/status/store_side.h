#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "base/error.h"
#include "io/shelf.h"
#include "store/ledger/manifest_report.h"
#include "store/object_store.h"
#include "wal/segment.h"

namespace weir::status {

/// The object store beside a directory, or alone: its ends, and what it has not got yet.
struct StoreSide {
  struct End {
    wal::TimelineId timeline = 0;
    std::string first;  ///< segments
    std::string last;
    std::uint64_t segments = 0;  ///< different ones
    std::uint64_t bytes = 0;
  };
  std::string place;
  std::vector<End> ends{};          ///< by timeline
  std::vector<std::string> open{};  ///< unfinished segments of which the front is there
  // Of the directory's finished files, what the store does not have.
  std::uint64_t pending_segments = 0;
  std::uint64_t pending_bytes = 0;
  std::uint64_t pending_histories = 0;
  std::string oldest_pending{};  ///< its name; empty: nothing is
  std::optional<std::chrono::seconds> oldest_pending_age{};
  std::optional<store::ManifestReport> manifest{};  ///< what its manifests tell, if there are any
  std::string error{};  ///< the store could not be looked at: all above is empty
  std::string hint{};
  std::optional<ErrorKind> error_kind{};
};

/// By names. `directory`: nullptr: the store alone. `identity`: of the store, as the directory's
/// mark has it. Trouble of the store is told in `error`. Throws what the directory throws.
[[nodiscard]] StoreSide look_at_store(io::Shelf* directory, io::Shelf& stored,
                                      const std::string& identity,
                                      std::chrono::system_clock::time_point now);
/// The store that could not be looked at: nothing else of it is known.
[[nodiscard]] StoreSide no_store_side(const std::string& place, const store::StoreError& error);
/// Lines of the text.
[[nodiscard]] std::string store_text(const StoreSide& side);

}  // namespace weir::status
