#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "archive/difference.h"
#include "io/shelf.h"
#include "verify/verify.h"
#include "wal/segment.h"

namespace weir::verify {

/// A segment or a history that two archives have and that is not the same in both.
struct Unlike {
  enum class Kind {
    differ,       ///< both are sound, and one of them is of another history of the cluster
    damaged_one,  ///< in the archive that is looked at
    damaged_other,
    damaged_both,
  };
  Kind kind = Kind::differ;
  std::string file;        ///< in the one archive
  std::string other_file;  ///< in the other one
  std::string what;        ///< where they differ, or what is wrong
};
[[nodiscard]] std::string_view to_string(Unlike::Kind kind);

/// An archive held against another one of the same cluster.
struct BesideReport {
  std::string path{};
  std::string other{};
  archive::Difference names{};
  std::vector<Unlike> unlike{};
  std::size_t compared = 0;  ///< segments

  /// Each has whatever lies between the first and the last segment of the other one, in the same
  /// bytes. That one of them begins earlier, or ends later, is no fault.
  [[nodiscard]] bool agrees() const;
};

/// Compares what both have, byte for byte as far as the bytes mean something: what lies behind an
/// xlog-switch does not. Of two copies that differ each is checked: which one is sound is told. Of
/// unfinished segments nothing is told. Uses options.jobs, progress and stop. Throws
/// Error{conflict} if the other archive is of another cluster, Error{gap} if one has no WAL,
/// Error{io} if a directory cannot be read, Error{retry} if it is stopped.
[[nodiscard]] BesideReport compare_archives(io::Shelf& one, io::Shelf& other,
                                            const Options& options);

[[nodiscard]] std::string to_text(const BesideReport& report, std::size_t most = 20);

}  // namespace weir::verify
