#include "cli/metrics/report_metrics.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "cli/metrics/collection.h"
#include "codec/names.h"
#include "status/check.h"

namespace weir::cli {

using SystemTime = std::chrono::system_clock::time_point;

std::vector<metrics::Family> verify_metrics(const verify::Report& report, bool sound,
                                            const std::string& archive, SystemTime now) {
  using Kind = verify::FindingKind;
  Collection to(archive);
  to.add_time("pgweir_verify_timestamp_seconds", now);
  to.add("pgweir_verify_sound", sound ? 1 : 0);
  std::map<std::string, std::size_t> counts;
  for (const auto kind : {Kind::gap, Kind::damage, Kind::broken_file, Kind::wrong_name,
                          Kind::other_cluster, Kind::forms_differ, Kind::history, Kind::unreadable,
                          Kind::not_a_file, Kind::backup, Kind::lost_branch, Kind::minimal_wal})
    counts[std::string(verify::to_string(kind))] = 0;
  for (const auto& finding : report.findings)
    if (!finding.accepted) ++counts[std::string(verify::to_string(finding.kind))];
  for (const auto& [kind, count] : counts)
    to.add_count("pgweir_verify_findings", count, {{"kind", kind}});
  to.add_count("pgweir_verify_segments", report.segments);
  to.add_count("pgweir_verify_wal_bytes", report.wal_bytes);
  to.add_count("pgweir_verify_records", report.records);
  to.add("pgweir_verify_duration_seconds", seconds(report.elapsed));
  return to.take();
}

std::vector<metrics::Family> drill_metrics(const drill::Report& report, const std::string& archive,
                                           SystemTime now) {
  Collection to(archive);
  to.add_time("pgweir_drill_timestamp_seconds", now);
  for (const auto outcome :
       {drill::Outcome::recovered, drill::Outcome::failed, drill::Outcome::not_tried})
    to.add("pgweir_drill_outcome", report.outcome == outcome ? 1 : 0,
           {{"outcome", std::string(drill::to_string(outcome))}});
  for (const auto& phase : report.phases)
    to.add("pgweir_drill_phase_seconds", seconds(phase.time), {{"phase", phase.name}});
  to.add_count("pgweir_drill_backup_bytes", report.backup_bytes);
  to.add_count("pgweir_drill_wal_bytes", report.wal_bytes);
  if (report.promised) to.add_count("pgweir_drill_promised_lsn_bytes", report.promised->byte());
  if (report.reached) to.add_count("pgweir_drill_reached_lsn_bytes", report.reached->byte());
  to.add_count("pgweir_drill_checks_not_held",
               std::count_if(report.checks.begin(), report.checks.end(),
                             [](const auto& check) { return !check.passed; }));
  return to.take();
}

std::vector<metrics::Family> backup_metrics(const backup::Report& report,
                                            const std::vector<backup::Standing>& standing,
                                            const std::string& archive, SystemTime now) {
  Collection to(archive);
  to.add_time("pgweir_backup_timestamp_seconds", now);
  to.add_count("pgweir_backup_status", report.status);
  if (report.made) to.add("pgweir_backup_duration_seconds", seconds(report.elapsed));
  const auto good = [](const backup::Standing& each) { return each.counts(); };
  const auto count = std::count_if(standing.begin(), standing.end(), good);
  to.add_count("pgweir_backup_backups", count, {{"counts", "yes"}});
  to.add_count("pgweir_backup_backups", std::ssize(standing) - count, {{"counts", "no"}});
  std::uint64_t counted = 0;
  std::uint64_t others = 0;
  for (const auto& each : standing) (each.counts() ? counted : others) += each.bytes.value_or(0);
  to.add_count("pgweir_backup_bytes", counted, {{"counts", "yes"}});
  to.add_count("pgweir_backup_bytes", others, {{"counts", "no"}});
  const auto newest = std::find_if(standing.rbegin(), standing.rend(), good);
  if (newest == standing.rend()) return to.take();
  if (newest->began) to.add_time("pgweir_backup_newest_timestamp_seconds", *newest->began);
  if (newest->bytes) to.add_count("pgweir_backup_newest_bytes", *newest->bytes);
  if (const auto& point = newest->found.point; point && point->end)
    to.add_count("pgweir_backup_newest_end_lsn_bytes", point->end->byte());
  return to.take();
}

std::vector<metrics::Family> status_metrics(const status::StatusReport& report,
                                            const status::Limits& limits, SystemTime now) {
  Collection to(report.directory);
  to.add_time("pgweir_status_timestamp_seconds", now);
  const bool has_directory = !status::is_store_alone(report);
  if (has_directory) to.add("pgweir_status_receiver_running", report.receiver ? 1 : 0);
  to.add("pgweir_status_level", static_cast<int>(status::check(report, limits).level));
  std::map<std::string, std::uint64_t> bytes = {{"raw", 0}, {"zstd", 0}, {"gzip", 0}, {"lz4", 0}};
  for (const auto& timeline : report.timelines) {
    to.add_count("pgweir_status_segments", timeline.segments,
                 {{"timeline", std::to_string(timeline.timeline)}});
    for (const auto& [method, form] : timeline.forms)
      bytes[std::string(codec::form_name(method))] += form.bytes;
  }
  for (const auto& [form, count] : bytes)
    to.add_count("pgweir_status_bytes", count, {{"form", form}});
  to.add_count("pgweir_status_holes", report.holes.size());
  std::uint64_t missing = 0;
  for (const auto& hole : report.holes) missing += hole.segments;
  to.add_count("pgweir_status_missing_segments", missing);
  to.add_count("pgweir_status_lost_branches", report.lost_branches.size());
  to.add_count("pgweir_status_minimal_wal", report.minimal_wal.size());
  const auto open = [](const auto& loss) { return !loss.acknowledged; };
  to.add_count("pgweir_status_losses_unacknowledged",
               std::count_if(report.holes.begin(), report.holes.end(), open), {{"kind", "hole"}});
  to.add_count("pgweir_status_losses_unacknowledged",
               std::count_if(report.lost_branches.begin(), report.lost_branches.end(), open),
               {{"kind", "lost_branch"}});
  to.add_count("pgweir_status_losses_unacknowledged",
               std::count_if(report.minimal_wal.begin(), report.minimal_wal.end(), open),
               {{"kind", "minimal_wal"}});
  to.add_count("pgweir_status_damaged_files", report.damaged.size());
  if (has_directory) to.add_count("pgweir_status_free_bytes", report.free_bytes);
  const auto add_last = [&](const char* check, const std::optional<archive::LastCheck>& last,
                            bool counts) {
    if (!last) return;
    if (counts)
      to.add_time("pgweir_status_last_check_timestamp_seconds", last->time, {{"check", check}});
    to.add("pgweir_status_last_check_passed", last->passed ? 1 : 0, {{"check", check}});
  };
  // As for --max-verify-age: a part that is sound says nothing about the rest.
  const auto& verified = report.last_verify;
  add_last("verify", verified, verified && (verified->whole || !verified->passed));
  add_last("drill", report.last_drill, true);
  if (const auto lag = status::lag_of(report)) to.add_count("pgweir_status_lag_bytes", *lag);
  return to.take();
}

}  // namespace weir::cli
