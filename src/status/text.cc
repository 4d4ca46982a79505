#include "status/text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "codec/names.h"
#include "status/backups.h"
#include "status/check.h"

namespace weir::status {

namespace {

std::string timeline_text(const StatusReport& report, const StatusReport::Timeline& one);
std::string only_stored_text(const StatusReport& report, const StatusReport::Timeline& one);
std::string window_text(const StatusReport& report, const StatusReport::Window& window);
std::string upstream_text(const StatusReport& report);
std::string names_text(const StatusReport& report, const StatusReport::Hole& hole);
std::string settled(const std::string& directory, const std::string& id,
                    const std::optional<archive::Loss::Acknowledgement>& acknowledged);
std::string checks_text(const StatusReport& report);
std::string space_text(const StatusReport& report);

}  // namespace

std::string status_text(const StatusReport& report, int width, bool utf8) {
  auto text = fmt::format("Archive {}: ", report.directory);
  const bool store_alone = is_store_alone(report);
  if (store_alone && !report.store->error.empty())
    text += "cannot be read\n";
  else if (store_alone && report.timelines.empty())
    text +=
        "empty\n  no WAL is here: check that this is the archive's location (--store, "
        "--store-name, --store-layout)\n";
  else if (report.timelines.empty())
    text +=
        "empty\n  no WAL is here: check that this is the archive directory, and that its file "
        "system is mounted\n";
  else if (report.identity)
    text += fmt::format("system {}, segments of {}\n", report.identity->system_identifier,
                        format_size(report.identity->segment_size.bytes()));
  else
    text += "no segment identifies the cluster\n";
  if (report.newer_magic)
    text += fmt::format("  WARNING: {}\n", newer_version_text(*report.newer_magic));
  for (const auto& timeline : report.timelines) text += timeline_text(report, timeline);
  text += picture(report, width, utf8);
  for (const auto& hole : report.holes)
    text += fmt::format("  HOLE: {} missing from {} to {} on the way to timeline {}\n{}    {}\n{}",
                        counted(hole.segments, "segment"), hole.from.to_string(),
                        hole.to.to_string(), hole.timeline, names_text(report, hole), hole.cause,
                        settled(report.directory, hole.id, hole.acknowledged));
  for (const auto& loss : report.lost_branches) {
    const auto first = loss.first_segment().to_string();
    const auto last = loss.last_segment().to_string();
    text += fmt::format(
        "  LOST BY A FAILOVER: {} from {} to {} on timeline {}{} {} not on timeline {}; the "
        "archive has it in {}\n{}",
        format_size(loss.end - loss.begin), loss.begin, loss.end, loss.timeline,
        loss.commits ? ", " + archive::transactions_text(*loss.commits, loss.prepared) + "," : "",
        loss.commits == 1 && loss.prepared == 0 ? "is" : "are", loss.next_timeline,
        first == last ? first : first + " to " + last,
        settled(report.directory, loss.id(), loss.acknowledged));
  }
  for (const auto& loss : report.minimal_wal)
    text += fmt::format(
        "  WAL_LEVEL=MINIMAL: the WAL from {} {} on timeline {} is here, and no recovery can pass "
        "it{}\n{}",
        loss.begin, loss.goes_on ? "on" : fmt::format("to {}", loss.end), loss.timeline,
        loss.acknowledged ? "" : "; take a base backup",
        settled(report.directory, loss.id(), loss.acknowledged));
  for (const auto& each : report.unvouched)
    text += fmt::format(
        "  NOT FULLY VERIFIED: {}\n    \"pgweir import\" checks it again once the missing WAL is "
        "there.\n",
        each.text());
  for (const auto& each : report.published_open)
    text += fmt::format("  PUBLISHED UNFINISHED: {}\n", each.text());
  constexpr std::size_t kMostWindows = 8;
  for (std::size_t i = 0; i < std::min(kMostWindows, report.windows.size()); ++i)
    text += window_text(report, report.windows[i]);
  if (report.windows.size() > kMostWindows)
    text += fmt::format("  and {} more, in --json\n", report.windows.size() - kMostWindows);
  text += backups_text(report);
  if (!store_alone) text += checks_text(report);
  for (const auto& what : report.damaged) text += fmt::format("  DAMAGED: {}\n", what);
  if (const auto broken = shown_break(report))
    text += fmt::format("  BREAKS OFF: {}\n    \"pgweir verify\" shows the details.\n",
                        text_of(*broken));
  if (!report.foreign.empty()) {
    constexpr std::size_t kMostNames = 5;
    text += fmt::format("  not WAL: {}", counted(report.foreign.size(), "file"));
    for (std::size_t i = 0; i < std::min(kMostNames, report.foreign.size()); ++i)
      text += fmt::format("{}{}", i == 0 ? ": " : ", ", report.foreign[i]);
    text += report.foreign.size() > kMostNames ? ", ...\n" : "\n";
  }
  // The store alone has no end.
  const auto free_text = store_alone ? std::string() : "; " + space_text(report);
  if (const auto ratio = compression_ratio(report))
    text += fmt::format("  compression ratio: {:.1f}{}\n", *ratio, free_text);
  else if (!free_text.empty())
    text += "  " + free_text.substr(2) + "\n";
  // Which receiver fills a store is not known there.
  if (!store_alone) text += receiver_text(report);
  return text + relays_text(report) + slots_text(report) + upstream_text(report) +
         beside_text(report) + (report.store ? store_text(*report.store) : "");
}

namespace {

std::string names_text(const StatusReport& report, const StatusReport::Hole& hole) {
  const auto names = missing_names(report, hole);
  return names.empty() ? names : fmt::format("    missing: {}\n", names);
}

/// What the windows are based on.
std::string checks_text(const StatusReport& report) {
  if (report.windows.empty()) return {};
  std::string text = "  Based on names and sizes of the files; ";
  if (const auto& last = report.last_verify) {
    const auto range = last->range();
    text += fmt::format("records last verified at {}{}{}: {}.\n", format_time(last->time),
                        range.empty() ? "" : ", " + range,
                        last->whole ? "" : " (a part of the archive)", result_of(*last));
  } else {
    text += "no \"pgweir verify\" is recorded.\n";
  }
  if (const auto& last = report.last_drill)
    text += fmt::format("  Last drill at {}, {}{}{}: {}.\n", format_time(last->time), last->backup,
                        last->to.valid() ? ", " + last->range() : "",
                        last->whole ? "" : " (not to the end of the archive)", result_of(*last));
  return text;
}

std::string space_text(const StatusReport& report) {
  auto text = fmt::format("free: {}", format_size(report.free_bytes));
  if (report.disk_bytes > 0)
    text += fmt::format(" of {} ({}%)", format_size(report.disk_bytes),
                        report.free_bytes * 100 / report.disk_bytes);
  if (report.full_in)
    text +=
        fmt::format(", full in {} at the rate of the last day", format_duration(*report.full_in));
  return text;
}

/// The line under a loss.
std::string settled(const std::string& directory, const std::string& id,
                    const std::optional<archive::Loss::Acknowledgement>& acknowledged) {
  if (!acknowledged)
    return fmt::format("    {}: when it is settled, \"pgweir ack -D {} {}\"\n", id,
                       shell_word(directory), id);
  return fmt::format("    {}: acknowledged by {} at {}{}{}\n", id, acknowledged->who,
                     acknowledged->time, acknowledged->reason.empty() ? "" : ": ",
                     acknowledged->reason);
}

std::string commit_text(std::string_view which, const std::optional<wal::Commit>& commit) {
  if (!commit) return {};
  return fmt::format("    {} commit {} at {}\n", which, commit->time.to_string(), commit->start);
}

std::string timeline_text(const StatusReport& report, const StatusReport::Timeline& one) {
  auto text = fmt::format("  timeline {}: ", one.timeline);
  if (one.segments == 0) {
    text += one.only_stored.empty() ? "no finished segment" : "no finished segment here";
  } else {
    if (one.from) text += fmt::format("{} to {}, ", one.from->to_string(), one.to->to_string());
    text += counted(one.segments, "segment");
    std::string forms;
    for (const auto& [method, form] : one.forms)
      forms += fmt::format("{}{} {}, {}", forms.empty() ? "" : "; ", form.count,
                           codec::form_name(method), format_size(form.bytes));
    text += fmt::format(" ({})", forms);
  }
  if (one.timeline > 1 && !one.history) text += ", NO history file";
  text += "\n" + only_stored_text(report, one);
  for (const auto& partial : one.partials)
    text +=
        fmt::format("    {} ({})\n", partial.name.to_string(), format_size(partial.bytes.value()));
  return text + commit_text("first", one.ends.first) + commit_text("last ", one.ends.last);
}

std::string only_stored_text(const StatusReport& report, const StatusReport::Timeline& one) {
  if (one.only_stored.empty()) return {};
  const auto& size = *report.segment_size;
  std::uint64_t count = 0;
  for (const auto& range : one.only_stored) count += range.end - range.begin;
  return fmt::format("    only in the object store: {} to {}, {}{}\n",
                     size.start(one.only_stored.front().begin),
                     size.start(one.only_stored.back().end), counted(count, "segment"),
                     one.only_stored.size() > 1 ? ", in several ranges" : "");
}

std::string place(wal::Lsn lsn, const std::optional<wal::PgTime>& time) {
  return time ? fmt::format("{} ({})", lsn, time->to_string()) : lsn.to_string();
}

std::string window_text(const StatusReport& report, const StatusReport::Window& window) {
  auto text = fmt::format(
      "  Timeline {}: a base backup that began at {} or later can be recovered to any moment\n"
      "    from its own end up to {}",
      window.timeline, place(window.from, window.from_time), place(window.to, window.to_time));
  if (window.before_minimal_wal)
    text += ",\n    where wal_level was lowered to minimal";
  else if (!window.newest)
    text +=
        ", where WAL is missing;\n    the last bytes before that with \"pgweir restore "
        "--until-gap\"";
  if (window.stored_from)
    text += fmt::format(",\n    with \"pgweir restore --store\" one that began at {} or later",
                        *window.stored_from);
  // --partial is refused where more WAL follows damage.
  const bool breaks_off =
      window.newest && shown_break(report) && window.timeline == report.timelines.back().timeline;
  if (window.with_partial)
    text += fmt::format(",\n    the last bytes with \"pgweir restore {}\"",
                        breaks_off ? "--partial-damaged" : "--partial");
  return text + ".\n";
}

std::string hint_text(const std::string& hint) {
  return hint.empty() ? std::string() : fmt::format("  hint: {}\n", hint);
}

std::string upstream_text(const StatusReport& report) {
  if (report.upstream_error)
    return fmt::format("Server: could not be queried: {}\n{}", *report.upstream_error,
                       hint_text(report.upstream_hint));
  if (!report.upstream) return {};
  const auto& upstream = *report.upstream;
  auto text = fmt::format("Server {}: timeline {}, at {}", upstream.server, upstream.timeline,
                          upstream.position);
  const auto remark = report.branch ? archive::remark_on(*report.branch, place_of(upstream))
                                    : archive::BranchRemark{};
  if (upstream.standby) text += *upstream.standby ? ", a standby" : ", a primary";
  const auto lag = lag_of(report);
  if (lag && (remark.what.empty() || *lag == 0))
    text += *lag == 0 ? ", all of it in the archive"
                      : fmt::format(", the archive is {} behind", format_size(*lag));
  text += "\n";
  if (!remark.what.empty())
    text += fmt::format("  WARNING: {}\n    {}\n", remark.what, remark.todo);
  if (report.identity && report.identity->system_identifier != upstream.system_identifier)
    text += fmt::format("  WARNING: it belongs to a different cluster, {}\n",
                        upstream.system_identifier);
  if (const auto& names = upstream.synchronous_standby_names;
      names && names->find('*') != std::string::npos && upstream.standby != true)
    text += fmt::format(
        "  note: synchronous_standby_names is '{}', which any replication connection matches, so a "
        "commit may be confirmed by the archive alone. Use names (docs/ha.md)\n",
        *names);
  if (upstream.slot) {
    const auto& slot = *upstream.slot;
    text += fmt::format("  slot {}: ", slot.name);
    if (!slot.exists) {
      text += "does not exist\n";
    } else {
      text += slot.restart_lsn ? fmt::format("keeps WAL from {} on", *slot.restart_lsn)
                               : std::string("keeps no WAL");
      if (slot.wal_status && !slot.wal_status->empty()) text += ", " + *slot.wal_status;
      if (slot.active) text += *slot.active ? ", in use" : ", not in use";
      text += "\n";
    }
  }
  if (upstream.slot_error)
    text += fmt::format("  the slot's wal_status could not be read: {}\n{}", *upstream.slot_error,
                        hint_text(upstream.slot_hint));
  if (upstream.slot && !upstream.slot->wal_status && !upstream.slot->unseen_invalidation.empty())
    text += fmt::format(
        "  WARNING: without it, it is not known whether {} has invalidated the slot, which then "
        "keeps no WAL\n",
        upstream.slot->unseen_invalidation);
  return text;
}

}  // namespace

}  // namespace weir::status
