#pragma once

#include <cstdint>
#include <functional>
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

/// The name and location of a source's file, if the shelf has it under another name.
struct Original {
  std::string path;
  std::string sha1 = {};  ///< of the segment, according to its name; empty: not part of the name
};

/// A source of WAL: a directory with all its files, or one file of it.
struct Source {
  std::shared_ptr<io::Shelf> shelf;
  std::optional<std::string> file = std::nullopt;  ///< the named file, in the shelf's naming
  std::map<std::string, Original> originals = {};  ///< by the name that the shelf has
  /// Segments for which there are only unreadable files: named, and skipped.
  std::vector<wal::SegmentName> unreadable = {};
};

/// A file that may contain a segment.
struct Offer {
  std::shared_ptr<io::Shelf> shelf;
  archive::SegmentFileName name;
  Original original = {};  ///< without a path: it has the shelf's name

  [[nodiscard]] std::string path() const {
    return original.path.empty() ? shelf->path_of(name.to_string()) : original.path;
  }
};

/// A timeline's history, as read from a file.
struct OfferedHistory {
  std::string path;
  std::string content;
  wal::TimelineHistory history;
};

/// Why a file is not added, and what that means for the exit status.
enum class Reason {
  not_asked_for,  ///< newer, older, partial, not needed: not an error
  not_sound,      ///< damaged, or does not fit
  conflict,       ///< bytes that differ from ours, another cluster, an unknown branch
};
struct LeftOut {
  std::string path;
  Reason reason = Reason::not_asked_for;
  std::string what;
  std::string hint = {};
  /// It is not a source at all, or nothing of a named source is usable: never status 0.
  bool no_source = false;
  bool operator==(const LeftOut&) const = default;
};

/// The contents of a source, by names: everything from its first segment to its last one.
struct Reach {
  wal::SegmentName first;
  wal::SegmentName last;
  bool file = false;  ///< one file
};

struct Offers {
  /// In the order of the sources; complete ones of a source before partial ones.
  std::map<wal::SegmentName, std::vector<Offer>> segments;
  std::map<wal::TimelineId, OfferedHistory> histories;
  std::vector<Reach> reaches;
};

/// The cluster that the WAL must be of; `identifier` 0: that of the newest readable segment.
struct Cluster {
  std::uint64_t system_identifier = 0;
  std::optional<wal::SegmentSize> segment_size = std::nullopt;
};

/// True if the error concerns this file only, which is damaged or unreadable (bad sectors, missing
/// permission): the others may be usable.
[[nodiscard]] bool is_of_the_file(const Error& error);

/// Asked now and then: so much more WAL was read. True: it is to end.
using Stop = std::function<bool(std::uint64_t moved)>;

/// Called if the file could not be read. Another program may be copying it directly to its final
/// name: waits as long as it does, unless it is to end. True: the file has been changed since, or
/// just before, and must be read again.
[[nodiscard]] bool wait_for_writer(const Offer& offer, wal::SegmentSize segment_size,
                                   const Stop& stop);

/// Lists the sources and reads the first page header of each segment: those of another cluster,
/// those whose content does not match their name, unreadable files, and histories that differ are
/// in `left_out`, as are sources without any WAL. Fills in what is not known of the cluster. Throws
/// Error{io} for a source that cannot be listed.
[[nodiscard]] Offers collect(const std::vector<Source>& sources, Cluster& cluster,
                             std::vector<LeftOut>& left_out, const Stop& stop = nullptr);

}  // namespace weir::importing
