#include "receive/board_json.h"

#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/units.h"

namespace weir::receive {

namespace {

nlohmann::json candidate_json(const Candidate& candidate) {
  nlohmann::json json{{"host", candidate.host},
                      {"covered", candidate.covered()},
                      {"cover", to_string(candidate.cover)},
                      {"reason", candidate.reason}};
  const bool known = candidate.answered != std::chrono::system_clock::time_point{};
  const auto or_null = [&](bool there, const auto& value) {
    return there ? nlohmann::json(value) : nlohmann::json(nullptr);
  };
  json["answered"] = or_null(known, format_time(candidate.answered));
  json["timeline"] = or_null(known, candidate.timeline);
  json["server_lsn"] = or_null(known, candidate.end.to_string());
  json["slot_lsn"] =
      or_null(candidate.slot_lsn.has_value(), candidate.slot_lsn.value_or(wal::Lsn()).to_string());
  json["slot_lag_bytes"] = candidate.slot_lsn && candidate.end >= *candidate.slot_lsn
                               ? nlohmann::json(candidate.end - *candidate.slot_lsn)
                               : nlohmann::json(nullptr);
  if (candidate.slot_gone_since) json["slot_gone_since"] = format_time(*candidate.slot_gone_since);
  if (candidate.silent_since) {
    json["silent_since"] = format_time(*candidate.silent_since);
    json["was_covered"] = candidate.was_covered;
  }
  return json;
}

nlohmann::json comparison_json(const StatusBoard::Content::Comparison& comparison) {
  nlohmann::json json = {
      {"with", comparison.with},
      {"timeline", comparison.timeline},
      {"lsn", comparison.position.valid() ? nlohmann::json(comparison.position.to_string())
                                          : nlohmann::json(nullptr)},
      {"bytes", comparison.bytes},
      {"skipped_bytes", comparison.skipped_bytes},
      {"differences", comparison.differences}};
  if (!comparison.problem.empty()) json["problem"] = comparison.problem;
  if (comparison.difference) {
    json["difference"] = *comparison.difference;
    json["difference_time"] = format_time(comparison.difference_time);
  }
  return json;
}

nlohmann::json certificates_json(const StatusBoard::Content::Certificates& certificates) {
  auto json = nlohmann::json::object();
  const auto add = [&](const std::string& name, const auto& expires) {
    if (!expires) return;
    json[name] = format_time(*expires);
    json[name + "_in_seconds"] =
        std::chrono::floor<std::chrono::seconds>(*expires - std::chrono::system_clock::now())
            .count();
  };
  if (!certificates.client.empty()) json["client"] = certificates.client;
  add("client_expires", certificates.client_expires);
  add("server_expires", certificates.server_expires);
  if (!certificates.problem.empty()) json["problem"] = certificates.problem;
  return json;
}

nlohmann::json hosts_json(const std::vector<HostVerdict>& hosts) {
  auto json = nlohmann::json::array();
  for (const auto& host : hosts)
    json.push_back({{"host", host.name},
                    {"taken", host.taken},
                    {"eligibility", to_string(host.eligibility)},
                    {"why", host.why}});
  return json;
}

/// Its positions in the server's WAL.
void add_stream(nlohmann::json& json, const StreamSnapshot& stream,
                std::chrono::milliseconds silence) {
  json["timeline"] = stream.timeline;
  json["write_lsn"] = stream.written().to_string();
  json["flush_lsn"] = stream.flush.to_string();
  if (stream.confirmed) {
    json["confirm"] = "stored";
    json["confirmed_lsn"] = stream.confirmed->to_string();
  }
  json["server_lsn"] = stream.server_end.to_string();
  json["lag_bytes"] = stream.server_end > stream.flush ? stream.server_end - stream.flush : 0;
  json["last_message"] = format_time(std::chrono::system_clock::now() - silence);
}

nlohmann::json syncs_json(const SyncTimes::Summary& syncs) {
  const auto ms = [](std::chrono::nanoseconds time) {
    return std::chrono::duration<double, std::milli>(
               std::chrono::round<std::chrono::microseconds>(time))
        .count();
  };
  return {{"seconds", SyncTimes::kWindow.count()},
          {"count", syncs.count},
          {"p50_ms", ms(syncs.p50)},
          {"p99_ms", ms(syncs.p99)},
          {"worst_ms", ms(syncs.worst)}};
}

void add_losses(nlohmann::json& json, const std::vector<archive::Loss>& losses) {
  for (const auto& kind : archive::Loss::kinds())
    json[std::string(kind.list)] = nlohmann::json::array();
  for (const auto& loss : losses) {
    nlohmann::json one{{"id", loss.id()},
                       {"timeline", loss.timeline},
                       {"from", loss.begin.to_string()},
                       {"to", loss.end.to_string()},
                       {"acknowledged", loss.acknowledged.has_value()}};
    if (loss.commits) one["commits"] = *loss.commits;
    json[std::string(loss.words().list)].push_back(std::move(one));
  }
}

void add_slot(nlohmann::json& json, const StatusBoard::Content& content) {
  if (content.slot) json["slot"] = *content.slot;
  if (content.slot_view && !content.slot_view->wal_status.empty())
    json["slot_wal_status"] = content.slot_view->wal_status;
  if (content.slot_view && content.slot_view->safe_wal_size)
    json["slot_safe_wal_size"] = *content.slot_view->safe_wal_size;
  if (content.slot_view && content.slot_view->retained)
    json["slot_retained_bytes"] = *content.slot_view->retained;
  if (content.slot_warning) json["slot_warning"] = *content.slot_warning;
}

void add_serving(nlohmann::json& json, const archive::ServingView& serving) {
  json["clients"] = nlohmann::json::parse(archive::clients_json(serving));
  json["listen"] = serving.listens;
  if (serving.certificate)
    json["serve_certificate"] =
        nlohmann::json::parse(archive::certificate_json(*serving.certificate));
}

}  // namespace

std::string board_json(const StatusBoard::View& view) {
  const auto& [content, stream, silence, syncs, serving, store] = view;
  nlohmann::json json;
  json["pid"] = ::getpid();
  json["version"] = PGWEIR_VERSION;
  json["state"] = content.disk_full ? "disk full" : content.state;
  json["state_since"] = format_time(content.shown_state_since());
  json["started"] = format_time(content.started);
  json["server"] = content.server;
  if (!content.hosts.empty()) json["hosts"] = hosts_json(content.hosts);
  json["silence_ms"] = silence.count();
  if (stream) add_stream(json, *stream, silence);
  if (const auto rate = view.bytes_per_second(std::chrono::steady_clock::now()))
    json["bytes_per_second"] = *rate;
  json["archived_bytes"] = view.archived_bytes();
  json["streams"] = content.streams;
  json["errors"] = content.errors;
  json["segments_finished"] = content.segments_finished;
  if (syncs) json["syncs"] = syncs_json(*syncs);
  json["slow_syncs"] = content.slow_syncs;
  if (content.last_error) {
    json["last_error"] = *content.last_error;
    json["last_error_time"] = format_time(content.last_error_time);
  }
  add_losses(json, content.losses);
  add_slot(json, content);
  if (!content.candidates.empty()) {
    json["candidates"] = nlohmann::json::array();
    for (const auto& candidate : content.candidates)
      json["candidates"].push_back(candidate_json(candidate));
  }
  if (auto certificates = certificates_json(content.certificates); !certificates.empty())
    json["certificates"] = std::move(certificates);
  if (content.comparison) json["comparison"] = comparison_json(*content.comparison);
  json["segments_to_compress"] = content.to_compress;
  if (serving) add_serving(json, *serving);
  if (store) json["store"] = nlohmann::json::parse(store::store_json(*store));
  return json.dump();
}

}  // namespace weir::receive
