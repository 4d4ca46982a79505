#include "status/serving_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/units.h"
#include "status/json_words.h"

namespace weir::status {

namespace {

using Json = nlohmann::json;

std::uint64_t behind(const Json& client) {
  const auto found = client.find("behind_bytes");
  return found != client.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::string client_text(const Json& client) {
  const auto lag = [&](const char* key) {
    const auto found = client.find(key);
    return found != client.end() && found->is_number()
               ? fmt::format(" ({:.3g} ms)", found->get<double>())
               : std::string();
  };
  const auto name = word_of(client, "application_name");
  const auto slot = word_of(client, "slot_name");
  const auto ssl = client.find("ssl");
  const bool encrypted = ssl != client.end() && ssl->is_object();
  auto text = fmt::format("    {} ({}, user {}{}{}): {}, {}", name.empty() ? "-" : name,
                          word_of(client, "client_addr"), word_of(client, "usename"),
                          slot == "-" ? "" : ", slot " + slot,
                          encrypted ? ", " + word_of(*ssl, "version") : "",
                          word_of(client, "state"), word_of(client, "sync_state"));
  if (word_of(client, "timeline") != "0") {
    text += fmt::format(", timeline {}", word_of(client, "timeline"));
    if (const auto bytes = behind(client); bytes > 0)
      text += fmt::format(", {} BEHIND", format_size(bytes));
    text += fmt::format("\n      sent {}, write {}{}, flush {}{}, replay {}{}",
                        word_of(client, "sent_lsn"), word_of(client, "write_lsn"),
                        lag("write_lag_ms"), word_of(client, "flush_lsn"), lag("flush_lag_ms"),
                        word_of(client, "replay_lsn"), lag("replay_lag_ms"));
  }
  return text + "\n";
}

Json parsed(const std::string& text) { return Json::parse(text, nullptr, false); }

/// A receiver serves, too: its clients are in its own answer.
bool receiver_serves(const StatusReport& report) {
  if (!report.receiver) return false;
  const auto json = parsed(*report.receiver);
  return json.is_object() && json.contains("clients");
}

}  // namespace

std::string clients_text(const Json& clients) {
  if (!clients.is_array()) return {};
  if (clients.empty()) return "  serves nobody now\n";
  std::vector<Json> sorted;
  for (const auto& client : clients)
    if (client.is_object()) sorted.push_back(client);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Json& a, const Json& b) { return behind(a) > behind(b); });
  auto text = fmt::format("  serves {}:\n", counted(sorted.size(), "client"));
  for (const auto& client : sorted) text += client_text(client);
  return text;
}

std::string relays_text(const StatusReport& report) {
  std::string text;
  for (const auto& answer : report.relays) {
    const auto relay = parsed(answer);
    if (!relay.is_object()) continue;
    std::string listens;
    if (const auto found = relay.find("listen"); found != relay.end() && found->is_array())
      for (const auto& each : *found)
        if (each.is_string()) listens += (listens.empty() ? "" : ", ") + each.get<std::string>();
    text += fmt::format("Relay: on {}, since {} (pid {})\n", listens, word_of(relay, "started"),
                        word_of(relay, "pid"));
    text += relay.value("timeline", Json()).is_null()
                ? std::string("  the archive has no WAL yet\n")
                : fmt::format("  serves timeline {} up to {}\n", word_of(relay, "timeline"),
                              word_of(relay, "end_lsn"));
    text += clients_text(relay.value("clients", Json()));
  }
  for (const auto& error : report.relay_errors) text += fmt::format("Relay: {}\n", error);
  return text;
}

std::string slots_text(const StatusReport& report) {
  std::string text;
  if (!report.slots.empty()) {
    text = "Slots of the archive's clients (pgweir prune leaves what they need):\n";
    if (report.relays.empty() && report.relay_errors.empty() && !receiver_serves(report))
      text += "  nobody serves the archive now\n";
  }
  for (const auto& slot : report.slots) {
    const auto& kept = slot.kept;
    const auto since = kept.inactive_since.empty() ? "" : " since " + kept.inactive_since;
    text += fmt::format("  {}{}: ", kept.name, slot.temporary ? " (temporary)" : "");
    if (kept.lost)
      text += fmt::format("LOST, not in use{}\n", since);
    else
      text += fmt::format(
          "{}{}, {}\n", slot.active_pid ? "in use" : "not in use", slot.active_pid ? "" : since,
          kept.restart_lsn.valid() ? fmt::format("holds back {}, from {} on",
                                                 format_size(slot.retained), kept.restart_lsn)
                                   : std::string("holds nothing back"));
  }
  for (const auto& slot : report.slots)
    if (const auto warning = archive::warning_of(slot))
      text += fmt::format("  WARNING: {}\n", *warning);
  if (report.slots_error) text += fmt::format("Slots: {}\n", *report.slots_error);
  return text;
}

Json relays_json(const StatusReport& report) {
  auto relays = Json::array();
  for (const auto& answer : report.relays)
    if (auto relay = parsed(answer); relay.is_object()) relays.push_back(std::move(relay));
  return relays;
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

}  // namespace weir::status
