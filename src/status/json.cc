#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "archive/difference_json.h"
#include "base/units.h"
#include "codec/names.h"
#include "status/backups.h"
#include "status/text.h"
#include "status/view_json.h"

namespace weir::status {

namespace {

using Json = nlohmann::json;

Json commit_json(const std::optional<wal::Commit>& commit) {
  if (!commit) return nullptr;
  return {{"lsn", commit->start.to_string()},
          {"end_lsn", commit->end.to_string()},
          {"time", commit->time.to_string()},
          {"xid", commit->transaction}};
}

Json acknowledgement_json(const std::optional<archive::Loss::Acknowledgement>& acknowledged) {
  if (!acknowledged) return nullptr;
  return {
      {"time", acknowledged->time}, {"who", acknowledged->who}, {"reason", acknowledged->reason}};
}

Json timeline_json(const StatusReport::Timeline& one, const StatusReport& report) {
  Json timeline;
  timeline["timeline"] = one.timeline;
  timeline["history_file"] = one.history;
  timeline["segments"] = one.segments;
  if (one.from) {
    timeline["from"] = one.from->to_string();
    timeline["to"] = one.to->to_string();
  }
  timeline["only_stored"] = Json::array();
  for (const auto& range : one.only_stored)
    timeline["only_stored"].push_back(
        {{"from", report.segment_size->start(range.begin).to_string()},
         {"to", report.segment_size->start(range.end).to_string()},
         {"segments", range.end - range.begin}});
  timeline["first_commit"] = commit_json(one.ends.first);
  timeline["last_commit"] = commit_json(one.ends.last);
  if (one.ends.end.valid()) timeline["last_record_end"] = one.ends.end.to_string();
  timeline["forms"] = Json::object();
  for (const auto& [method, form] : one.forms)
    timeline["forms"][std::string(codec::form_name(method))] = {{"files", form.count},
                                                                {"bytes", form.bytes}};
  timeline["partial"] = Json::array();
  for (const auto& partial : one.partials)
    timeline["partial"].push_back(
        {{"name", partial.name.to_string()}, {"bytes", partial.bytes.value()}});
  return timeline;
}

Json coverage_json(const StatusReport& report) {
  auto json = Json::array();
  for (const auto& way : report.coverage) {
    Json ranges = Json::array();
    for (const auto& range : way.ranges)
      ranges.push_back({{"from", range.begin.to_string()}, {"to", range.end.to_string()}});
    json.push_back({{"timeline", way.timeline}, {"ranges", std::move(ranges)}});
  }
  return json;
}

Json holes_json(const StatusReport& report) {
  auto json = Json::array();
  for (const auto& hole : report.holes)
    json.push_back({{"id", hole.id},
                    {"timeline", hole.timeline},
                    {"from", hole.from.to_string()},
                    {"to", hole.to.to_string()},
                    {"segments", hole.segments},
                    {"missing", missing_names(report, hole)},
                    {"sound_end", std::max(hole.from, hole.sound_end).to_string()},
                    {"cause", hole.cause},
                    {"acknowledged", acknowledgement_json(hole.acknowledged)}});
  return json;
}

Json minimal_wal_json(const StatusReport& report) {
  auto json = Json::array();
  for (const auto& loss : report.minimal_wal)
    json.push_back({{"id", loss.id()},
                    {"timeline", loss.timeline},
                    {"from", loss.begin.to_string()},
                    {"to", loss.end.to_string()},
                    {"goes_on", loss.goes_on},
                    {"found", loss.found},
                    {"server", loss.server},
                    {"acknowledged", acknowledgement_json(loss.acknowledged)}});
  return json;
}

Json lost_branches_json(const StatusReport& report) {
  auto json = Json::array();
  for (const auto& loss : report.lost_branches)
    json.push_back(
        {{"id", loss.id()},
         {"timeline", loss.timeline},
         {"next_timeline", loss.next_timeline},
         {"from", loss.begin.to_string()},
         {"to", loss.end.to_string()},
         {"commits", loss.commits ? Json(*loss.commits) : Json(nullptr)},
         {"prepared", loss.commits ? Json(loss.prepared) : Json(nullptr)},
         {"counted_to", loss.counted_to.to_string()},
         {"segments", {loss.first_segment().to_string(), loss.last_segment().to_string()}},
         {"found", loss.found},
         {"server", loss.server},
         {"acknowledged", acknowledgement_json(loss.acknowledged)}});
  return json;
}

Json unvouched_json(const StatusReport& report) {
  auto json = Json::array();
  for (const auto& each : report.unvouched)
    json.push_back({{"timeline", each.timeline},
                    {"from", each.begin.to_string()},
                    {"to", each.end.to_string()},
                    {"on_the_left", each.left},
                    {"on_the_right", each.right},
                    {"found", each.found},
                    {"source", each.source},
                    {"what", each.text()}});
  return json;
}

Json published_open_json(const StatusReport& report) {
  auto json = Json::array();
  for (const auto& each : report.published_open)
    json.push_back({{"segment", each.segment.to_string()},
                    {"end", each.end.to_string()},
                    {"object", each.object},
                    {"time", each.time},
                    {"forced", each.forced}});
  return json;
}

Json windows_json(const StatusReport& report) {
  auto json = Json::array();
  for (const auto& window : report.windows) {
    Json one{{"timeline", window.timeline},
             {"from", window.from.to_string()},
             {"to", window.to.to_string()},
             {"with_partial", window.with_partial},
             {"before_minimal_wal", window.before_minimal_wal}};
    if (window.stored_from) one["stored_from"] = window.stored_from->to_string();
    if (window.from_time) one["from_time"] = window.from_time->to_string();
    if (window.to_time) one["to_time"] = window.to_time->to_string();
    json.push_back(std::move(one));
  }
  return json;
}

Json backups_json(const StatusReport& report) {
  const auto text = [](const std::string& value) {
    return value.empty() ? Json(nullptr) : Json(value);
  };
  auto json = Json::array();
  for (const auto& backup : report.backups) {
    const auto* const window = window_of(report, backup);
    const auto age = age_of(report, backup);
    Json one{{"name", backup.name},
             {"label", text(backup.label)},
             {"good", window != nullptr},
             {"why", window != nullptr ? Json() : Json(why_not(report, backup))},
             {"kind", backup.parent          ? Json("incremental")
                      : backup.start.valid() ? Json("full")
                                             : Json()},
             {"base", text(backup.base)},
             {"bytes", backup.bytes ? Json(*backup.bytes) : Json()},
             {"began", backup.began ? Json(backup.began->to_string()) : Json()},
             {"age_seconds", age ? Json(age->count() / 1000) : Json()}};
    one["format"] = !backup.format                                        ? Json()
                    : *backup.format == StatusReport::Backup::Format::tar ? Json("tar")
                                                                          : Json("plain");
    if (backup.start.valid()) {
      one["timeline"] = backup.timeline;
      one["begin_lsn"] = backup.start.to_string();
    }
    if (backup.end) one["end_lsn"] = backup.end->to_string();
    if (window != nullptr) one["until"] = window->to.to_string();
    if (window != nullptr && window->to_time) one["until_time"] = window->to_time->to_string();
    json.push_back(std::move(one));
  }
  return json;
}

Json branch_json(const archive::Branch& branch, const Upstream& upstream) {
  Json json{{"relation", archive::to_string(branch.relation)},
            {"archive_timeline", branch.archive_timeline},
            {"archive_lsn", branch.archive_end.to_string()}};
  const bool known = branch.relation != archive::Branch::Relation::unknown;
  json["missing_bytes"] = known ? Json(branch.missing()) : Json(nullptr);
  if (branch.fork.valid()) {
    json["fork"] = branch.fork.to_string();
    json["fork_timeline"] = branch.fork_timeline;
  }
  if (branch.missing() > 0) {
    json["missing_from"] = branch.missing_from.to_string();
    json["missing_to"] = branch.missing_to.to_string();
  }
  if (const auto remark = archive::remark_on(branch, place_of(upstream)); !remark.what.empty()) {
    json["what"] = remark.what;
    json["todo"] = remark.todo;
  }
  return json;
}

Json slot_json(const Upstream::Slot& slot) {
  Json json{{"name", slot.name}, {"exists", slot.exists}};
  json["restart_lsn"] = slot.restart_lsn ? Json(slot.restart_lsn->to_string()) : Json(nullptr);
  json["wal_status"] = slot.wal_status ? Json(*slot.wal_status) : Json(nullptr);
  json["active"] = slot.active ? Json(*slot.active) : Json(nullptr);
  if (!slot.wal_status && !slot.unseen_invalidation.empty())
    json["unseen_invalidation"] = slot.unseen_invalidation;
  return json;
}

Json slots_json(const StatusReport& report) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
  };
  auto slots = Json::array();
  for (const auto& slot : report.slots) {
    const auto& kept = slot.kept;
    const auto warning = archive::warning_of(slot);
    slots.push_back({{"name", kept.name},
                     {"temporary", slot.temporary},
                     {"active", slot.active_pid.has_value()},
                     {"active_pid", slot.active_pid ? Json(*slot.active_pid) : Json(nullptr)},
                     {"restart_lsn", kept.restart_lsn.valid() ? Json(kept.restart_lsn.to_string())
                                                              : Json(nullptr)},
                     {"lost", kept.lost},
                     {"retained_bytes", slot.retained},
                     {"xmin", kept.xmin == 0 ? Json(nullptr) : Json(kept.xmin)},
                     {"created", text_or_null(kept.created)},
                     {"inactive_since", text_or_null(kept.inactive_since)},
                     {"warning", warning ? Json(*warning) : Json(nullptr)}});
  }
  return slots;
}

Json upstream_json(const StatusReport& report) {
  const auto& upstream = *report.upstream;
  Json json{{"server", upstream.server},
            {"system_identifier", std::to_string(upstream.system_identifier)},
            {"timeline", upstream.timeline},
            {"lsn", upstream.position.to_string()}};
  if (report.identity)
    json["same_cluster"] = report.identity->system_identifier == upstream.system_identifier;
  json["standby"] = upstream.standby ? Json(*upstream.standby) : Json(nullptr);
  if (report.branch) json["branch"] = branch_json(*report.branch, upstream);
  if (upstream.slot) json["slot"] = slot_json(*upstream.slot);
  if (upstream.slot_error) json["slot_error"] = *upstream.slot_error;
  if (!upstream.slot_hint.empty()) json["slot_hint"] = upstream.slot_hint;
  return json;
}

void add_store(Json& json, const StoreSide& side) {
  json["place"] = side.place;
  if (!side.error.empty()) {
    json["last_error"] = side.error;
    return;
  }
  json["timelines"] = Json::array();
  for (const auto& end : side.ends)
    json["timelines"].push_back({{"timeline", end.timeline},
                                 {"first", end.first},
                                 {"last", end.last},
                                 {"segments", end.segments},
                                 {"bytes", end.bytes}});
  json["open"] = side.open;
  json["pending_segments"] = side.pending_segments;
  json["pending_bytes"] = side.pending_bytes;
  json["pending_histories"] = side.pending_histories;
  if (side.manifest) json["manifest"] = Json::parse(store::to_json(*side.manifest));
  json["oldest_pending"] = side.oldest_pending.empty() ? Json(nullptr) : Json(side.oldest_pending);
  json["oldest_pending_seconds"] =
      side.oldest_pending_age ? Json(side.oldest_pending_age->count()) : Json(nullptr);
}

Json beside_json(const Beside& beside) {
  Json json{{"directory", beside.directory}};
  if (!beside.difference) {
    json["error"] = beside.error;
    return json;
  }
  archive::add_difference(json, *beside.difference);
  json["both"] = beside.difference->both.size();
  return json;
}

Json last_check_json(const archive::LastCheck& last) {
  Json json{{"time", format_time(last.time)},
            {"passed", last.passed},
            {"problems", last.problems},
            {"whole", last.whole}};
  if (last.timeline != 0) json["timeline"] = last.timeline;
  if (last.from.valid()) json["from"] = last.from.to_string();
  if (last.to.valid()) json["to"] = last.to.to_string();
  if (!last.problem.empty()) json["problem"] = last.problem;
  if (!last.backup.empty()) json["backup"] = last.backup;
  return json;
}

void add_verdict(Json& json, const StatusReport& report, const std::optional<Verdict>& verdict) {
  const auto found = verdict ? *verdict : check(report, {});
  json["problems"] = Json::array();
  for (const auto& finding : found.findings) json["problems"].push_back(finding.text);
  json["findings"] = json_of(found.findings);
  json["level"] = to_string(found.level);
  if (verdict)
    json["check"] = {{"status", to_string(verdict->level)},
                     {"exit_status", static_cast<int>(verdict->level)},
                     {"line", verdict->line}};
}

}  // namespace

std::string status_json(const StatusReport& report, const std::optional<Verdict>& verdict) {
  Json json;
  json["directory"] = report.directory;
  if (!is_store_alone(report)) json["free_bytes"] = report.free_bytes;
  if (report.disk_bytes > 0) json["disk_bytes"] = report.disk_bytes;
  if (report.full_in) json["full_in_seconds"] = report.full_in->count();
  if (report.identity)  // as text: more than a JSON reader's number may hold
    json["system_identifier"] = std::to_string(report.identity->system_identifier);
  if (report.segment_size) json["segment_size"] = report.segment_size->bytes();
  if (report.newer_magic) json["newer_version"] = true;
  json["timelines"] = Json::array();
  for (const auto& one : report.timelines) json["timelines"].push_back(timeline_json(one, report));
  json["coverage"] = coverage_json(report);
  json["holes"] = holes_json(report);
  json["lost_branches"] = lost_branches_json(report);
  json["minimal_wal"] = minimal_wal_json(report);
  json["not_vouched_for"] = unvouched_json(report);
  json["published_open"] = published_open_json(report);
  json["windows"] = windows_json(report);
  json["backups"] = backups_json(report);
  json["backup_places"] = report.backup_places;
  if (report.backups_error) json["backups_error"] = *report.backups_error;
  if (const auto ratio = compression_ratio(report)) json["compression_ratio"] = *ratio;
  json["last_verify"] = report.last_verify ? last_check_json(*report.last_verify) : Json();
  json["last_drill"] = report.last_drill ? last_check_json(*report.last_drill) : Json();
  json["foreign"] = report.foreign;
  json["damaged"] = report.damaged;
  if (const auto broken = shown_break(report))
    json["breaks_off"] = {{"lsn", broken->at.to_string()},
                          {"file", broken->file},
                          {"offset", broken->offset},
                          {"what", broken->what}};
  json["receiver"] = report.receiver ? json_of(*report.receiver) : Json();
  if (report.receiver && report.receiver->store) json["store"] = json["receiver"]["store"];
  if (report.receiver_error) json["receiver_error"] = *report.receiver_error;
  if (const auto& ended = report.ended; ended && !report.receiver)
    json["receiver_ended"] = {{"time", ended->time},
                              {"status", ended->status},
                              {"message", ended->message},
                              {"hint", ended->hint}};
  json["relays"] = Json::array();
  for (const auto& relay : report.relays) json["relays"].push_back(json_of(relay));
  if (!report.relay_errors.empty()) json["relay_errors"] = report.relay_errors;
  json["slots"] = slots_json(report);
  if (report.slots_error) json["slots_error"] = *report.slots_error;
  if (const auto lag = lag_of(report)) json["lag_bytes"] = *lag;
  if (report.upstream) json["upstream"] = upstream_json(report);
  if (report.upstream_error) json["upstream_error"] = *report.upstream_error;
  if (!report.upstream_hint.empty()) json["upstream_hint"] = report.upstream_hint;
  if (report.beside) json["beside"] = beside_json(*report.beside);
  if (report.store) add_store(json["store"], *report.store);
  add_verdict(json, report, verdict);
  // File names need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weir::status
