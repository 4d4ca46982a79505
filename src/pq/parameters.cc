#include "pq/parameters.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <utility>

#include "pq/answers.h"

namespace weir::pq {

namespace {

/// "16MB" → 16, "MB"
std::optional<std::pair<std::uint64_t, std::string_view>> split_unit(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_number<std::uint64_t>(text.substr(0, digits));
  if (!number) return std::nullopt;
  return std::pair(*number, text.substr(digits));
}

}  // namespace

std::string show(Connection& connection, const std::string& parameter) {
  const bool name =
      !parameter.empty() && std::all_of(parameter.begin(), parameter.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
      });
  if (!name) throw Error(ErrorKind::usage, "not a server parameter's name").with("name", parameter);
  const std::string command = "SHOW " + parameter;
  const Row row = one_row(connection, command, 1);
  if (!row[0]) throw unexpected(connection, command);
  return *row[0];
}

std::optional<bool> show_if_standby(Connection& connection) {
  if (const auto told = connection.parameter("in_hot_standby")) return *told == "on";
  if (show(connection, "transaction_read_only") == "off") return false;
  if (show(connection, "default_transaction_read_only") == "off") return true;
  return std::nullopt;
}

wal::SegmentSize show_wal_segment_size(Connection& connection) {
  const std::string text = show(connection, "wal_segment_size");
  if (const auto size = parse_segment_size(text)) return *size;
  throw Error(ErrorKind::protocol, "invalid wal_segment_size of the server")
      .with("server", connection.server_name())
      .with("value", text);
}

std::optional<wal::SegmentSize> parse_segment_size(std::string_view text) {
  const auto parts = split_unit(text);
  if (!parts || parts->first > 1024ull * 1024 * 1024) return std::nullopt;
  constexpr std::array<std::pair<std::string_view, unsigned>, 5> kShifts = {
      {{"", 0}, {"B", 0}, {"kB", 10}, {"MB", 20}, {"GB", 30}}};
  for (const auto& [unit, shift] : kShifts) {
    if (unit == parts->second) return wal::SegmentSize::of(parts->first << shift);
  }
  return std::nullopt;
}

unsigned show_file_mode(Connection& connection) {
  const std::string text = show(connection, "data_directory_mode");
  const auto mode = parse_number<unsigned>(text, 8);
  if (!mode || (*mode != 0700 && *mode != 0750))
    throw Error(ErrorKind::protocol, "invalid data_directory_mode of the server")
        .with("server", connection.server_name())
        .with("value", text);
  return (*mode & 040) != 0 ? 0640 : 0600;
}

std::chrono::milliseconds show_wal_sender_timeout(Connection& connection) {
  const std::string text = show(connection, "wal_sender_timeout");
  if (const auto time = parse_guc_time(text, "ms")) return *time;
  throw Error(ErrorKind::protocol, "invalid wal_sender_timeout of the server")
      .with("server", connection.server_name())
      .with("value", text);
}

std::optional<std::chrono::milliseconds> parse_guc_time(const std::string& text,
                                                        const std::string& base_unit) {
  const auto parts = split_unit(text);
  if (!parts) return std::nullopt;
  const std::string_view unit = parts->second.empty() ? base_unit : parts->second;
  const std::uint64_t number = parts->first;
  if (unit == "us")
    return std::chrono::milliseconds(
        static_cast<std::int64_t>(number / 1000 + (number % 1000 != 0)));
  constexpr std::array<std::pair<std::string_view, std::uint64_t>, 5> kUnits = {
      {{"ms", 1}, {"s", 1000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
  for (const auto& [name, milliseconds] : kUnits) {
    if (name != unit) continue;
    if (number > std::numeric_limits<std::int64_t>::max() / milliseconds) return std::nullopt;
    return std::chrono::milliseconds(static_cast<std::int64_t>(number * milliseconds));
  }
  return std::nullopt;
}

}  // namespace weir::pq
