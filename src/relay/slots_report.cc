#include "relay/slots_report.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace weir::relay {

namespace {

using Json = nlohmann::ordered_json;

constexpr auto kReplace = Json::error_handler_t::replace;

}  // namespace

std::string to_json(const SlotsReport& report) {
  Json json;
  json["end"] = report.end.to_string();
  json["slots"] = Json::array();
  for (const auto& slot : report.slots) {
    Json one;
    one["name"] = slot.kept.name;
    one["temporary"] = slot.temporary;
    one["active_pid"] = slot.active ? Json(*slot.active) : Json(nullptr);
    one["restart_lsn"] = slot.kept.restart_lsn.to_string();
    one["xmin"] = slot.kept.xmin;
    one["catalog_xmin"] = slot.kept.catalog_xmin;
    one["lost"] = slot.kept.lost;
    one["created"] = slot.kept.created;
    one["inactive_since"] = slot.kept.inactive_since;
    json["slots"].push_back(std::move(one));
  }
  return json.dump(-1, ' ', false, kReplace);
}

std::optional<SlotsReport> parse_slots_report(const std::string& text) {
  try {
    const auto json = Json::parse(text);
    SlotsReport report;
    const auto end = wal::Lsn::parse(json.at("end").get<std::string>());
    if (!end) return std::nullopt;
    report.end = *end;
    for (const auto& one : json.at("slots")) {
      Slot slot;
      const auto lsn = wal::Lsn::parse(one.at("restart_lsn").get<std::string>());
      if (!lsn) return std::nullopt;
      slot.kept.name = one.at("name").get<std::string>();
      slot.kept.restart_lsn = *lsn;
      slot.kept.xmin = one.at("xmin").get<std::uint64_t>();
      slot.kept.catalog_xmin = one.at("catalog_xmin").get<std::uint64_t>();
      slot.kept.lost = one.at("lost").get<bool>();
      slot.kept.created = one.at("created").get<std::string>();
      slot.kept.inactive_since = one.at("inactive_since").get<std::string>();
      slot.temporary = one.at("temporary").get<bool>();
      if (!one.at("active_pid").is_null()) slot.active = one.at("active_pid").get<SessionId>();
      report.slots.push_back(std::move(slot));
    }
    return report;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::string drop_answer(const std::optional<wire::ErrorReport>& refused) {
  Json json;
  json["done"] = !refused;
  json["sqlstate"] = refused ? refused->sqlstate : "";
  json["message"] = refused ? refused->message : "";
  return json.dump(-1, ' ', false, kReplace);
}

DropAnswer parse_drop_answer(const std::string& text) {
  try {
    const auto json = Json::parse(text);
    return {json.at("done").get<bool>(), json.at("sqlstate").get<std::string>(),
            json.at("message").get<std::string>()};
  } catch (const Json::exception&) {
    return {false, "", "its answer is invalid"};
  }
}

}  // namespace weir::relay
