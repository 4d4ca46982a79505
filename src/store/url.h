#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace weir::store {

/// Encodes as signatures require (AWS, "Create a canonical request"): everything except letters,
/// digits and "-._~" as %XX in upper case. `slashes` stay in a path, not in a query.
enum class Slashes { stay, are_encoded };
[[nodiscard]] std::string percent_encoded(std::string_view text, Slashes slashes);

/// Decoded names and values, in the order of the signature.
using Query = std::map<std::string, std::string>;
/// "a=1&b=": encoded, always with an equals sign.
[[nodiscard]] std::string to_text(const Query& query);

/// "https://host:port", without a path.
struct Endpoint {
  std::string scheme = "https";
  std::string host{};  ///< with the port if it is not the scheme's default: as in the Host header
  bool operator==(const Endpoint&) const = default;

  /// Returns nullopt for an invalid URL, or one with a user, a path or a query.
  [[nodiscard]] static std::optional<Endpoint> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const { return scheme + "://" + host; }
};

/// "s3://BUCKET/PREFIX"
struct Place {
  std::string bucket{};
  std::string prefix{};  ///< without leading and trailing slashes; may be empty
  bool operator==(const Place&) const = default;

  /// Returns nullopt for an invalid URL or bucket name (AWS, "Bucket naming rules").
  [[nodiscard]] static std::optional<Place> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const {
    return prefix.empty() ? "s3://" + bucket : "s3://" + bucket + "/" + prefix;
  }
  /// The key of `name` below the prefix.
  [[nodiscard]] std::string key(std::string_view name) const {
    return prefix.empty() ? std::string(name) : prefix + "/" + std::string(name);
  }
};

}  // namespace weir::store
