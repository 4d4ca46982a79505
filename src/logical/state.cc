#include "logical/state.h"

#include <fmt/format.h>
#include <isa-l/crc.h>

#include <nlohmann/json.hpp>

namespace weir::logical {

namespace {

constexpr int kVersion = 1;

nlohmann::ordered_json without_checksum(const State& state) {
  nlohmann::ordered_json json;
  json["pgweir_logical_state"] = kVersion;
  json["system_identifier"] = std::to_string(state.system_identifier);  // too large for a double
  json["database"] = state.database;
  json["slot"] = state.slot;
  json["plugin"] = state.plugin;
  json["position"] = state.position.to_string();
  json["timeline"] = state.timeline;
  json["offset"] = state.offset;
  json["tail_crc32c"] = fmt::format("{:08x}", state.tail);
  json["inode"] = state.inode;
  return json;
}

std::string dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string checksum_of(const nlohmann::ordered_json& json) {
  const std::string text = dump(json);
  return fmt::format("{:08x}", checksum(std::as_bytes(std::span(text.data(), text.size()))));
}

}  // namespace

std::string to_text(const State& state) {
  auto json = without_checksum(state);
  json["crc32c"] = checksum_of(json);
  return dump(json) + "\n";
}

std::optional<State> parse_state(std::string_view text) {
  auto json = nlohmann::ordered_json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    const std::string crc = json.at("crc32c");
    json.erase("crc32c");
    if (json.at("pgweir_logical_state") != kVersion || checksum_of(json) != crc)
      return std::nullopt;
    State state;
    state.system_identifier = std::stoull(json.at("system_identifier").get<std::string>());
    state.database = json.at("database");
    state.slot = json.at("slot");
    state.plugin = json.at("plugin");
    const auto position = wal::Lsn::parse(json.at("position").get<std::string>());
    if (!position) return std::nullopt;
    state.position = *position;
    state.timeline = json.value("timeline", wal::TimelineId{0});  // 0.1.0 has none
    state.offset = json.at("offset");
    state.tail = static_cast<std::uint32_t>(
        std::stoul(json.at("tail_crc32c").get<std::string>(), nullptr, 16));
    state.inode = json.at("inode");
    return state;
  } catch (const std::exception&) {  // of nlohmann::json and stoull: not our text
    return std::nullopt;
  }
}

std::uint32_t checksum(std::span<const std::byte> bytes) {
  // ISA-L requires a non-const pointer to data that it does not change.
  auto* buffer = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
  return ~crc32_iscsi(buffer, static_cast<int>(bytes.size()), ~0u);
}

}  // namespace weir::logical
