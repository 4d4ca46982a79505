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

/// "https://host:port/path"
struct Endpoint {
  std::string scheme = "https";
  std::string host{};  ///< with the port if it is not the scheme's default: as in the Host header
  std::string path{};  ///< "/path", which precedes that of each request; without a slash at its end
  bool operator==(const Endpoint&) const = default;

  /// Returns nullopt for an invalid URL, or one with a user or a query. A path has letters, digits
  /// and "-._~" only: it is sent, and signed, as it is.
  [[nodiscard]] static std::optional<Endpoint> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const { return scheme + "://" + host + path; }
};

/// The protocol of a store.
enum class StoreKind {
  s3,     ///< "s3://"
  azure,  ///< "azure://": Azure Blob Storage
  gs,     ///< "gs://": Google Cloud Storage
};
[[nodiscard]] std::string_view to_string(StoreKind kind);

/// "s3://BUCKET/PREFIX", "azure://CONTAINER/PREFIX", "gs://BUCKET/PREFIX"
struct Place {
  std::string bucket{};
  std::string prefix{};  ///< without leading and trailing slashes; may be empty
  StoreKind kind = StoreKind::s3;
  bool operator==(const Place&) const = default;

  /// Returns nullopt for an invalid URL or bucket name (AWS, "Bucket naming rules"; Microsoft,
  /// "Naming and referencing containers, blobs, and metadata").
  [[nodiscard]] static std::optional<Place> parse(std::string_view text);
  /// "s3://BUCKET"
  [[nodiscard]] std::string root() const {
    return std::string(store::to_string(kind)) + "://" + bucket;
  }
  [[nodiscard]] std::string to_string() const {
    return prefix.empty() ? root() : root() + "/" + prefix;
  }
  /// The key of `name` below the prefix.
  [[nodiscard]] std::string key(std::string_view name) const {
    return prefix.empty() ? std::string(name) : prefix + "/" + std::string(name);
  }
};

}  // namespace weir::store
