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
    differ,       ///< both are valid, and one of them is of another history of the cluster
    damaged_one,  ///< in the archive being verified
    damaged_other,
    damaged_both,
  };
  Kind kind = Kind::differ;
  std::string file;        ///< in the one archive
  std::string other_file;  ///< in the other one
  std::string what;        ///< where they differ, or the error
};
[[nodiscard]] std::string_view to_string(Unlike::Kind kind);

/// The result of comparing an archive with another one of the same cluster.
struct BesideReport {
  std::string path{};
  std::string other{};
  archive::Difference names{};
  std::vector<Unlike> unlike{};
  std::vector<std::string> notes{};
  std::size_t compared = 0;  ///< segments

  /// True if each has all WAL between the first and the last segment of the other one, with the
  /// same bytes. It does not matter if one of them starts earlier, or ends later.
  [[nodiscard]] bool agrees() const;
};

/// Compares the WAL that both have, byte for byte as far as the bytes have a meaning: those after
/// an xlog switch do not. If two copies differ, each is verified, and the report says which one is
/// valid. Partial segments are not reported; a padded segment ("pgweir store publish-partial") is
/// compared up to its zeros, and noted. Uses options.jobs, progress and stop. Throws
/// Error{conflict} if the other archive is of another cluster, Error{gap} if one has no WAL,
/// Error{io} if a directory cannot be read, Error{retry} if it is stopped.
[[nodiscard]] BesideReport compare_archives(io::Shelf& one, io::Shelf& other,
                                            const Options& options);

[[nodiscard]] std::string to_text(const BesideReport& report, std::size_t most = 20);

}  // namespace weir::verify
