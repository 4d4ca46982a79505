#include "cli/shared/keep_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/exit_status.h"

namespace weir::cli {

namespace {

/// A loss that status reports by itself, and no longer once it is acknowledged. A gap without a
/// range is an archive without any WAL.
bool is_loss(const verify::Finding& finding) {
  using Kind = verify::FindingKind;
  return (finding.kind == Kind::gap && finding.loss) || finding.kind == Kind::lost_branch ||
         finding.kind == Kind::minimal_wal;
}

void add(archive::LastCheck& check, const std::string& problem) {
  if (++check.problems == 1) check.problem = problem;
}

void add_differences(archive::LastCheck& check, const verify::BesideReport& compared) {
  const bool with_store = check.beside == archive::LastCheck::Beside::store;
  for (const auto& unlike : compared.unlike)
    if (with_store || unlike.kind != verify::Unlike::Kind::damaged_other)
      add(check, fmt::format("{} and {} in {}: {}", unlike.file, unlike.other_file, compared.other,
                             unlike.what));
  const auto add_holes = [&](const std::vector<archive::SegmentRange>& ranges,
                             const std::string& has) {
    for (const auto& range : ranges)
      if (range.hole) add(check, fmt::format("{}: only in {}", archive::to_text(range), has));
  };
  if (with_store) add_holes(compared.names.only_one, compared.path);
  add_holes(compared.names.only_other, compared.other);
}

}  // namespace

bool VerifyResults::sound() const {
  return report.sound() && (compared == nullptr || compared->agrees()) &&
         (manifest == nullptr || manifest->sound());
}

archive::LastCheck last_check_of(const VerifyResults& results, bool whole,
                                 std::chrono::system_clock::time_point now) {
  const auto& report = results.report;
  archive::LastCheck check{.time = now, .whole = whole, .beside = results.beside};
  const auto newest =
      std::max_element(report.histories.begin(), report.histories.end(),
                       [](const auto& a, const auto& b) { return a.timeline < b.timeline; });
  if (newest != report.histories.end() && !newest->sound.empty()) {
    check.timeline = newest->timeline;
    check.from = newest->sound.front().begin;
    check.to = newest->sound.back().end;
  }
  // A backup may still be running, and damaged WAL has a finding of its own.
  for (const auto& finding : report.findings) {
    if (finding.accepted || is_loss(finding) || finding.kind == verify::FindingKind::backup)
      continue;
    add(check, finding.file + (finding.file.empty() ? "" : ": ") + finding.what);
  }
  if (results.compared != nullptr) add_differences(check, *results.compared);
  if (results.manifest != nullptr)
    for (const auto& finding : results.manifest->findings) add(check, finding);
  if (!report.records_checked && check.problem.empty())
    check.problem = "the WAL is of a newer PostgreSQL than this pgweir supports";
  check.passed = check.problems == 0 && report.records_checked;
  return check;
}

archive::LastCheck last_check_of(const drill::Report& report, bool whole,
                                 std::chrono::system_clock::time_point now) {
  return {.time = now,
          .passed = report.outcome == drill::Outcome::recovered,
          .whole = whole && !report.of_left_branch,
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
    print_warning(Error(error.kind(),
                        fmt::format("the result is not recorded, and \"pgweir status\" shows an "
                                    "earlier one: {}",
                                    error.what()))
                      .hint(error.hint()));
  }
}

}  // namespace weir::cli
