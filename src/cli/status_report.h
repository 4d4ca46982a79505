#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"

namespace weir::cli {

/// What `pgweir status` knows; the texts are made from it alone.
struct StatusReport {
  struct Form {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
  };
  struct Timeline {
    wal::TimelineId timeline = 0;
    bool history = false;          ///< its history file is there
    std::optional<wal::Lsn> from;  ///< of finished segments; unset if there are none
    std::optional<wal::Lsn> to;
    std::uint64_t segments = 0;  ///< different ones
    std::map<codec::Method, Form> forms;
    std::vector<archive::SegmentEntry> partials;
  };
  struct Hole {
    wal::TimelineId timeline = 0;  ///< a recovery to this one meets it
    wal::Lsn from;
    wal::Lsn to;
    std::uint64_t segments = 0;
  };

  std::string directory;
  std::optional<archive::Identity> identity;
  std::optional<wal::SegmentSize> segment_size;  ///< unset: nothing tells it
  std::vector<Timeline> timelines;
  std::vector<archive::Coverage> coverage;
  std::vector<Hole> holes;
  std::vector<std::string> foreign;
  std::vector<std::string> damaged;  ///< what could not be read, in words
  std::uint64_t free_bytes = 0;

  std::optional<std::string> receiver;        ///< its JSON; unset: none runs
  std::optional<std::string> receiver_error;  ///< it runs and could not be asked
};

/// Fills in timelines, coverage, holes and foreign from the names.
void describe_listing(StatusReport& report, const archive::Listing& listing,
                      const archive::Timelines& timelines);

/// What --check complains of, in words.
[[nodiscard]] std::vector<std::string> check(const StatusReport& report);

[[nodiscard]] std::string status_text(const StatusReport& report);
/// Documented in docs/status.md.
[[nodiscard]] std::string status_json(const StatusReport& report);

}  // namespace weir::cli
