#include "cli/shared/keep_check.h"

#include <algorithm>

#include "base/error.h"
#include "cli/print_stderr.h"

namespace weir::cli {

namespace {

/// A loss that status reports by itself, and no longer once it is acknowledged.
bool is_loss(verify::FindingKind kind) {
  using Kind = verify::FindingKind;
  return kind == Kind::gap || kind == Kind::lost_branch || kind == Kind::minimal_wal;
}

}  // namespace

archive::LastCheck last_check_of(const verify::Report& report, bool whole,
                                 std::chrono::system_clock::time_point now) {
  archive::LastCheck check{.time = now, .whole = whole};
  const auto newest =
      std::max_element(report.histories.begin(), report.histories.end(),
                       [](const auto& a, const auto& b) { return a.timeline < b.timeline; });
  if (newest != report.histories.end() && !newest->sound.empty()) {
    check.timeline = newest->timeline;
    check.from = newest->sound.front().begin;
    check.to = newest->sound.back().end;
  }
  for (const auto& finding : report.findings) {
    if (finding.accepted || is_loss(finding.kind)) continue;
    if (++check.problems == 1)
      check.problem = finding.file + (finding.file.empty() ? "" : ": ") + finding.what;
  }
  if (!report.records_checked && check.problem.empty())
    check.problem = "the WAL is of a newer PostgreSQL than this pgweir supports";
  check.passed = check.problems == 0 && report.records_checked;
  return check;
}

archive::LastCheck last_check_of(const drill::Report& report,
                                 std::chrono::system_clock::time_point now) {
  return {.time = now,
          .passed = report.outcome == drill::Outcome::recovered,
          .timeline = report.timeline.value_or(0),
          .to = report.reached.value_or(wal::Lsn()),
          .problems = report.problems.size(),
          .problem = report.problems.empty() ? "" : report.problems.front(),
          .backup = report.backup};
}

void keep_check(const std::string& directory, archive::LastCheck::Kind kind,
                const archive::LastCheck& check) {
  try {
    archive::keep_last_check(directory, kind, check);
  } catch (const Error& error) {
    print_stderr("pgweir: note: the result is not recorded for \"pgweir status\": {}\n",
                 error.what());
  }
}

}  // namespace weir::cli
