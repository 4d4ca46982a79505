#include "archive/serving_view.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/units.h"

namespace weir::archive {

namespace {

constexpr std::uint64_t kMuch = std::uint64_t{1} << 30;

template <typename Value>
nlohmann::json or_null(const std::optional<Value>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

/// The columns of pg_stat_replication, those of pg_stat_ssl, and which timeline it streams.
nlohmann::json client_json(const DownstreamClient& client, const std::optional<DurableEnd>& end) {
  const auto position = [](wal::Lsn lsn) -> nlohmann::json {
    if (!lsn.valid()) return nullptr;
    return lsn.to_string();
  };
  const auto milliseconds = [](std::optional<std::chrono::microseconds> lag) -> nlohmann::json {
    if (!lag) return nullptr;
    return std::chrono::duration<double, std::milli>(*lag).count();
  };
  nlohmann::json ssl = nullptr;
  if (client.ssl)
    ssl = {{"version", client.ssl->version},
           {"cipher", client.ssl->cipher},
           {"bits", client.ssl->bits}};
  return {
      {"pid", client.pid},
      {"usename", client.user},
      {"application_name", client.application_name},
      {"client_addr", client.client_address},
      {"slot_name", or_null(client.slot)},
      {"backend_start", format_time(client.backend_start)},
      {"backend_xmin", client.xmin == 0 ? nlohmann::json(nullptr) : nlohmann::json(client.xmin)},
      {"state", client.state},
      {"timeline", client.timeline},
      {"sent_lsn", position(client.sent)},
      {"write_lsn", position(client.write)},
      {"flush_lsn", position(client.flush)},
      {"replay_lsn", position(client.replay)},
      {"write_lag_ms", milliseconds(client.write_lag)},
      {"flush_lag_ms", milliseconds(client.flush_lag)},
      {"replay_lag_ms", milliseconds(client.replay_lag)},
      {"behind_bytes", end ? or_null(bytes_behind(client, end->flush)) : nlohmann::json(nullptr)},
      {"sync_state", client.sync_state},
      {"reply_time", client.reply_time ? nlohmann::json(format_time(*client.reply_time))
                                       : nlohmann::json(nullptr)},
      {"ssl", std::move(ssl)}};
}

nlohmann::json clients_of(const ServingView& view) {
  auto clients = nlohmann::json::array();
  for (const auto& client : view.clients) clients.push_back(client_json(client, view.end));
  return clients;
}

nlohmann::json json_of(const ServedCertificate& certificate) {
  const auto left = certificate.expires - std::chrono::system_clock::now();
  return {{"file", certificate.file},
          {"expires", format_time(certificate.expires)},
          {"expires_in_seconds", std::chrono::floor<std::chrono::seconds>(left).count()}};
}

}  // namespace

std::uint64_t retained_by(const KeptSlot& slot, wal::Lsn end) {
  if (slot.lost || !slot.restart_lsn.valid() || end <= slot.restart_lsn) return 0;
  return end - slot.restart_lsn;
}

std::optional<std::string> warning_of(const ServedSlot& slot) {
  const auto& name = slot.kept.name;
  if (slot.kept.lost)
    return fmt::format(
        "the replication slot \"{}\" is lost (--serve-max-slot-wal-keep-size): its client is "
        "refused; drop it "
        "and make it anew, the archive may still have what the client needs",
        name);
  if (!slot.active_pid && slot.retained >= kMuch)
    return fmt::format(
        "the replication slot \"{}\" holds back {} from pgweir prune, and nobody uses it{}: start "
        "its client, or drop it before the disk is full",
        name, format_size(slot.retained),
        slot.kept.inactive_since.empty() ? "" : " since " + slot.kept.inactive_since);
  return std::nullopt;
}

std::optional<std::uint64_t> bytes_behind(const DownstreamClient& client, wal::Lsn end) {
  if (client.timeline == 0 || (client.state != "streaming" && client.state != "catchup"))
    return std::nullopt;
  const auto reached = client.replay.valid() ? client.replay : client.flush;
  if (!reached.valid()) return std::nullopt;
  return reached < end ? end - reached : 0;
}

std::string certificate_json(const ServedCertificate& certificate) {
  return json_of(certificate).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string clients_json(const ServingView& view) {
  return clients_of(view).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string to_json(const ServingView& view, const ServingProcess& process) {
  nlohmann::json json{
      {"pid", process.pid},
      {"version", PGWEIR_VERSION},
      {"started", format_time(process.started)},
      {"listen", view.listens},
      {"timeline", view.end ? nlohmann::json(view.end->timeline) : nlohmann::json(nullptr)},
      {"end_lsn", view.end ? nlohmann::json(view.end->flush.to_string()) : nlohmann::json(nullptr)},
      {"has_slots", view.slots.has_value()},
      {"clients", clients_of(view)}};
  if (view.certificate) json["serve_certificate"] = json_of(*view.certificate);
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace weir::archive
