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

/// The object store of a directory, or without one: its ends, and the WAL that it lacks.
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
  std::vector<std::string> open{};  ///< partial segments whose first part is stored
  // Of the directory's finished files, what the store does not have.
  std::uint64_t pending_segments = 0;
  std::uint64_t pending_bytes = 0;
  std::uint64_t pending_histories = 0;
  std::string oldest_pending{};  ///< its name; empty: nothing is
  std::optional<std::chrono::seconds> oldest_pending_age{};
  /// Time since the last upload of WAL, for a store alone. Unset: unknown.
  std::optional<std::chrono::seconds> newest_age{};
  std::optional<store::ManifestReport> manifest{};  ///< from its manifests, if there are any
  std::string error{};  ///< the store could not be read: all above is empty
  std::string hint{};
  std::optional<ErrorKind> error_kind{};
};

/// By names. `directory`: nullptr: only the store. `identity`: of the store, as in the directory's
/// mark. Errors of the store are returned in `error`. Throws what the directory throws.
[[nodiscard]] StoreSide look_at_store(io::Shelf* directory, io::Shelf& stored,
                                      const std::string& identity,
                                      std::chrono::system_clock::time_point now);
/// A store that could not be read: nothing else is known about it.
[[nodiscard]] StoreSide no_store_side(const std::string& place, const store::StoreError& error);
/// A recovery stops at objects in an archive class or tier, which there are.
[[nodiscard]] std::string frozen_text(const store::ManifestReport& manifest);
/// Lines of the text.
[[nodiscard]] std::string store_text(const StoreSide& side);

}  // namespace weir::status
