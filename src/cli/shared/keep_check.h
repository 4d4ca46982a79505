#pragma once

#include <chrono>
#include <string>

#include "archive/last_check.h"
#include "drill/report.h"
#include "store/ledger/manifest_report.h"
#include "verify/beside.h"
#include "verify/report.h"

namespace weir::cli {

// The results of `verify` and `drill`, recorded in the archive directory for `status`.

/// The results of one `verify`.
struct VerifyResults {
  const verify::Report& report;
  const verify::BesideReport* compared = nullptr;   ///< nullptr: with no other archive
  const store::ManifestReport* manifest = nullptr;  ///< nullptr: there is no store, or no manifest
  archive::LastCheck::Beside beside = archive::LastCheck::Beside::none;  ///< the other one's kind

  /// The exit status depends on this.
  [[nodiscard]] bool sound() const;
};
/// `whole`: the archive was verified from its beginning to its end. A finding about another archive
/// does not count; the object store is a part of this one.
[[nodiscard]] archive::LastCheck last_check_of(const VerifyResults& results, bool whole,
                                               std::chrono::system_clock::time_point now);
/// `whole`: the drill's target was the end of the WAL.
[[nodiscard]] archive::LastCheck last_check_of(const drill::Report& report, bool whole,
                                               std::chrono::system_clock::time_point now);
/// The result of a check does not depend on this: a failure is a warning on standard error.
void keep_check(const std::string& directory, archive::LastCheck::Kind kind,
                const archive::LastCheck& check);

}  // namespace weir::cli
