#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "base/error.h"
#include "io/shelf.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::importing {

/// Where WAL is offered: a directory with all that is in it, or one file of it.
struct Source {
  std::shared_ptr<io::Shelf> shelf;
  std::optional<std::string> file = std::nullopt;
};

/// A file that may hold a segment.
struct Offer {
  std::shared_ptr<io::Shelf> shelf;
  archive::SegmentFileName name;

  [[nodiscard]] std::string path() const { return shelf->path_of(name.to_string()); }
};

/// A timeline's history, as a file tells it.
struct OfferedHistory {
  std::string path;
  std::string content;
  wal::TimelineHistory history;
};

/// Why something does not come in, and what that means for the exit status.
enum class Reason {
  not_asked_for,  ///< newer, older, unfinished, not needed: all is well
  not_sound,      ///< damaged, or does not fit
  conflict,       ///< other bytes than ours, another cluster, an unknown branch
};
struct LeftOut {
  std::string path;
  Reason reason = Reason::not_asked_for;
  std::string what;
  std::string hint = {};
  bool operator==(const LeftOut&) const = default;
};

struct Offers {
  /// In the order of the sources; finished ones of a source before unfinished ones.
  std::map<wal::SegmentName, std::vector<Offer>> segments;
  std::map<wal::TimelineId, OfferedHistory> histories;
};

/// Whose WAL it must be; `identifier` 0: of the first that tells, the newest.
struct Cluster {
  std::uint64_t system_identifier = 0;
  std::optional<wal::SegmentSize> segment_size = std::nullopt;
};

/// It concerns the one file that was read, damaged or not to be read at all (bad sectors, missing
/// permission): the others may be of use.
[[nodiscard]] bool is_of_the_file(const Error& error);

/// Lists the sources and looks at the first page header of each segment: those of another cluster,
/// those that do not hold what their name says, files that cannot be read, and histories that
/// differ are in `left_out`. Fills in what is not known of the cluster. Throws Error{io} for a
/// source that cannot be listed, Error{usage} for a file that is neither segment nor history.
[[nodiscard]] Offers collect(const std::vector<Source>& sources, Cluster& cluster,
                             std::vector<LeftOut>& left_out);

}  // namespace weir::importing
