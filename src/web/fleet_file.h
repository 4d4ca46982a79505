#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::web {

/// An archive of a fleet, as the file says. A value.
struct FleetMember {
  std::string name;                        ///< of its section
  std::optional<std::string> directory{};  ///< on this machine
  std::optional<std::string> url{};        ///< of another one's page: "https://db2:9190"
  std::optional<std::string> token_file{};
  std::optional<std::string> ca{};  ///< file with the certificates that its page's is checked with
  bool at_rest = false;             ///< "receiver = none": it is normal that no receiver runs
  std::vector<std::string> backups{};
  bool operator==(const FleetMember&) const = default;
};

/// Reads "[NAME]" and "key = value" lines; '#' and ';' begin a comment. Throws Error{usage} that
/// names the line. Pure.
[[nodiscard]] std::vector<FleetMember> parse_fleet(std::string_view text, const std::string& path);

}  // namespace weir::web
