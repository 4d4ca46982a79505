#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/serving_view.h"
#include "receive/receiver_view.h"
#include "status/findings.h"

namespace weir::status {

// The views of receivers and relays as JSON and back: the only file that knows their names in
// docs/status.md. One version may read the JSON of another one: a member that is absent there, or
// has another type, keeps its default, and unknown members are ignored. Pure.

[[nodiscard]] nlohmann::json json_of(const receive::ReceiverView& view);
[[nodiscard]] nlohmann::json json_of(const archive::Relay& relay);
/// On one line, always UTF-8.
[[nodiscard]] std::string to_json(const receive::ReceiverView& view);
[[nodiscard]] std::string to_json(const archive::Relay& relay);

/// nullopt if it is no JSON object. `now` becomes the moment of the view.
[[nodiscard]] std::optional<receive::ReceiverView> receiver_of(
    std::string_view json, std::chrono::system_clock::time_point now);
[[nodiscard]] std::optional<archive::Relay> relay_of(std::string_view json,
                                                     std::chrono::system_clock::time_point now);

[[nodiscard]] nlohmann::json json_of(const std::vector<Finding>& findings);

/// The part of `status --json` that a table of many archives shows.
struct Summary {
  std::vector<Finding> findings{};
  std::optional<receive::ReceiverView> receiver{};
  std::optional<std::uint64_t> lag{};
  std::optional<std::uint64_t> free_bytes{};
};
/// nullopt if it is no such object.
[[nodiscard]] std::optional<Summary> summary_of(std::string_view json,
                                                std::chrono::system_clock::time_point now);

}  // namespace weir::status
