#include "status/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/units.h"
#include "wal/page.h"

namespace weir::status {

namespace {

/// Below this number of segments, free space is a warning.
constexpr std::uint64_t kFewSegments = 8;

/// A '|' begins the performance data, a line end the next line.
std::string plain(std::string_view text) {
  std::string out(text);
  std::replace(out.begin(), out.end(), '|', '/');
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

void append(std::vector<Finding> more, Verdict& verdict) {
  std::move(more.begin(), more.end(), std::back_inserter(verdict.findings));
}

/// The receiver can stream for a while without free space, into files that are allocated already.
void judge_space(const StatusReport& report, Verdict& verdict) {
  if (!report.segment_size) return;
  const auto segments = report.free_bytes / report.segment_size->bytes();
  if (segments >= kFewSegments) return;
  verdict.findings.push_back(
      {Level::warning,
       fmt::format("the disk is nearly full: {} free, room for {}", format_size(report.free_bytes),
                   counted(segments, "segment")),
       Topic::disk_full});
}

void judge_receiver(const StatusReport& report, const Limits& limits, Verdict& verdict) {
  if (report.receiver_error) {
    verdict.findings.push_back({report.receiver_silent ? Level::critical
                                : report.receiver_mute ? Level::warning
                                                       : Level::unknown,
                                *report.receiver_error, Topic::receiver_silent});
    return;
  }
  if (report.receiver) {
    if (!report.receiver->disk_full_since) judge_space(report, verdict);
    // The server's own answer about the lag counts more: see lag_of().
    append(findings(*report.receiver, {.max_age = limits.max_age}), verdict);
    return;
  }
  // Who receives what is in a store is not known there.
  if (report.store && report.directory == report.store->place) return;
  verdict.findings.push_back({Level::critical,
                              fmt::format("no receiver runs on the archive{}",
                                          report.ended ? "; " + report.ended->text() : ""),
                              Topic::no_receiver});
}

/// What a receiver says of sending is judged with it: this is what the check itself has seen.
void judge_store(const StatusReport& report, const Limits& limits, Verdict& verdict) {
  if (report.store && !report.store->error.empty())
    verdict.findings.push_back(
        {Level::warning, "the store could not be looked at: " + report.store->error, Topic::store});
  if (!limits.max_store_age) return;
  auto oldest = report.store ? report.store->oldest_pending_age : std::nullopt;
  if (report.receiver && report.receiver->store)
    oldest = std::max(oldest, report.receiver->store->oldest_pending(report.receiver->taken));
  if (oldest && *oldest > *limits.max_store_age)
    verdict.findings.push_back({Level::critical,
                                fmt::format("finished WAL has not been sent to the store for {}",
                                            format_duration(*oldest)),
                                Topic::store});
}

void judge_relays(const StatusReport& report, Verdict& verdict) {
  const auto warn = [&](std::string text) {
    verdict.findings.push_back({Level::warning, std::move(text), Topic::relay});
  };
  for (const auto& error : report.relay_errors) warn(error);
  for (const auto& relay : report.relays) append(findings(relay), verdict);
  if (report.slots_error) warn(*report.slots_error);
  for (const auto& slot : report.slots)
    if (auto text = archive::warning_of(slot)) warn(std::move(*text));
}

void judge_upstream(const StatusReport& report, Verdict& verdict) {
  const auto add = [&](Level level, std::string text, Topic topic) {
    verdict.findings.push_back({level, std::move(text), topic});
  };
  if (report.upstream_error)
    add(Level::unknown, fmt::format("the server could not be asked: {}", *report.upstream_error),
        Topic::server_unreachable);
  if (!report.upstream) return;
  const auto& upstream = *report.upstream;
  if (report.identity && report.identity->system_identifier != upstream.system_identifier)
    add(Level::critical, "the server is of another cluster than the archive", Topic::other_cluster);
  if (report.branch)
    if (const auto remark = archive::remark_on(*report.branch, place_of(upstream));
        !remark.what.empty())
      add(remark.loss ? Level::critical : Level::warning, remark.what, Topic::branch);
  if (!upstream.slot) return;
  const auto& slot = *upstream.slot;
  if (!slot.exists)
    add(Level::critical, fmt::format("the server has no slot \"{}\"", slot.name), Topic::slot);
  else if (slot.wal_status == "lost")
    add(Level::critical, fmt::format("the slot \"{}\" has lost WAL it was to keep", slot.name),
        Topic::slot);
  else if (slot.wal_status == "unreserved")
    add(Level::warning, fmt::format("the slot \"{}\" is about to lose WAL", slot.name),
        Topic::slot);
}

std::string performance_data(const StatusReport& report, const Limits& limits) {
  const auto lag = lag_of(report);
  std::string text = "lag=";
  text += lag ? fmt::format("{}B", *lag) : "U";
  text += fmt::format(";;{};0", limits.max_lag ? fmt::to_string(*limits.max_lag) : "");
  text += " age=";
  const auto seconds = [](std::chrono::milliseconds time) {
    return fmt::format("{:.3f}", static_cast<double>(time.count()) / 1000);
  };
  const auto silence = report.receiver ? report.receiver->silence : std::nullopt;
  text += silence ? seconds(*silence) + "s" : "U";
  text += fmt::format(";;{};0", limits.max_age ? seconds(*limits.max_age) : "");
  std::uint64_t missing = 0;
  std::uint64_t segments = 0;
  std::uint64_t bytes = 0;
  for (const auto& hole : report.holes)
    if (!hole.acknowledged) missing += hole.segments;
  for (const auto& one : report.timelines) {
    segments += one.segments;
    for (const auto& [method, form] : one.forms) bytes += form.bytes;
  }
  text += fmt::format(" missing={};;0;0 segments={};;;0 size={}B;;;0 free={}B;;;0", missing,
                      segments, bytes, report.free_bytes);
  return text;
}

}  // namespace

Verdict check(const StatusReport& report, const Limits& limits) {
  Verdict verdict;
  const auto add = [&](Level level, std::string text, Topic topic) {
    verdict.findings.push_back({level, std::move(text), topic});
  };
  const auto known = [](const std::optional<archive::Loss::Acknowledgement>& acknowledged) {
    return acknowledged ? fmt::format(", acknowledged by {}", acknowledged->who) : std::string();
  };
  for (const auto& hole : report.holes)
    add(hole.acknowledged ? Level::ok : Level::critical,
        fmt::format("{} missing from {} to {} (timeline {}{})", counted(hole.segments, "segment"),
                    hole.from, hole.to, hole.timeline, known(hole.acknowledged)),
        Topic::hole);
  for (const auto& loss : report.lost_branches)
    add(loss.acknowledged ? Level::ok : Level::critical,
        fmt::format("a failover lost {} from {} to {} of timeline {}{}{}",
                    format_size(loss.end - loss.begin), loss.begin, loss.end, loss.timeline,
                    loss.commits ? " with " + counted(*loss.commits, "commit") : "",
                    known(loss.acknowledged)),
        Topic::lost_branch);
  for (const auto& loss : report.minimal_wal)
    add(loss.acknowledged ? Level::ok : Level::critical,
        fmt::format("no recovery can pass the WAL written with wal_level=minimal from {} {} "
                    "(timeline {}{})",
                    loss.begin, loss.goes_on ? "on" : fmt::format("to {}", loss.end), loss.timeline,
                    known(loss.acknowledged)),
        Topic::minimal_wal);
  for (const auto& each : report.unvouched)
    add(Level::warning, each.text(), Topic::not_vouched_for);
  for (const auto& each : report.published_open)
    add(Level::warning, each.text(), Topic::published_open);
  for (const auto& what : report.damaged) add(Level::critical, what, Topic::damage);
  if (const auto broken = shown_break(report)) add(Level::warning, text_of(*broken), Topic::damage);
  if (report.newer_magic)
    add(Level::warning, newer_version_text(*report.newer_magic), Topic::other);
  judge_receiver(report, limits, verdict);
  judge_store(report, limits, verdict);
  judge_relays(report, verdict);
  judge_upstream(report, verdict);
  const auto lag = lag_of(report);
  judge_lag(lag, limits, verdict.findings);

  std::stable_sort(
      verdict.findings.begin(), verdict.findings.end(),
      [](const Finding& a, const Finding& b) { return gravity(a.level) > gravity(b.level); });
  std::string what;
  if (!verdict.findings.empty()) verdict.level = verdict.findings.front().level;
  if (verdict.level == Level::ok) {
    if (const auto& receiver = report.receiver)
      what = fmt::format("streaming from {}, durable up to {}", receiver->server,
                         receiver->stream ? receiver->stream->flush.to_string() : "");
    else
      what = fmt::format("{} timelines, {} holes", report.timelines.size(), report.holes.size());
    if (lag) what += *lag == 0 ? ", caught up" : fmt::format(", {} behind", format_size(*lag));
  }
  for (const auto& finding : verdict.findings) what += (what.empty() ? "" : "; ") + finding.text;
  verdict.line = fmt::format("PGWEIR {} - {} | {}", to_string(verdict.level), plain(what),
                             performance_data(report, limits));
  return verdict;
}

std::string newer_version_text(std::uint16_t magic) {
  return fmt::format(
      "the WAL (page magic 0x{:04X}) is of a newer PostgreSQL than this pgweir knows: it is "
      "archived, and checked as far as the format is still that of PostgreSQL {}; use a newer "
      "pgweir",
      magic, wal::kNewestKnownMajor);
}

std::string line_without_report(Level level, std::string_view why) {
  return fmt::format("PGWEIR {} - {}", to_string(level), plain(why));
}

}  // namespace weir::status
