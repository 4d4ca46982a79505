#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/http/transport.h"
#include "store/object_store.h"

// Parses a store's answers: XML of "Amazon S3 API Reference", which Google Cloud Storage shares;
// the errors of Azure Blob Storage as well ("Blob Storage error codes"). Pure.

namespace weir::store {

/// "<Error><Code>…": the store's error.
struct Refusal {
  std::string code{};
  std::string message{};
  std::string region{};  ///< the bucket's region, if it differs
  std::string detail{};  ///< Azure's AuthenticationErrorDetail
};
/// Returns nullopt if the body is not such a document.
[[nodiscard]] std::optional<Refusal> parse_error(std::string_view body);

/// Objects of this class of S3 cannot be read before they are restored. (Google's "ARCHIVE" can.)
[[nodiscard]] bool is_frozen(std::string_view storage_class);
/// Returns nullopt if the body is not a listing (such as an "<Error>" with status 200).
[[nodiscard]] std::optional<ObjectPage> parse_listing(std::string_view body);
/// The token with which the listing continues after this page; empty: none.
[[nodiscard]] std::string continuation_of(std::string_view body);
/// Returns false if the page after the key `after` is truncated but contains no later key.
[[nodiscard]] bool leads_on(const ObjectPage& page, std::string_view after);
/// ListVersionsResult: the versions of exactly this key, in the store's order.
[[nodiscard]] std::optional<std::vector<Versions::Version>> parse_versions(std::string_view body,
                                                                           std::string_view key);
/// ListVersionsResult: the version after which the next page continues with this key; empty: the
/// page has the rest of the key's versions.
[[nodiscard]] std::string next_version_marker(std::string_view body, std::string_view key);
/// DeleteResult: the keys that were not removed.
struct Removal {
  std::vector<Kept> kept{};
  std::optional<Kept> passing{};  ///< the first of these for a temporary reason
};
[[nodiscard]] std::optional<Removal> parse_removal(std::string_view body);

/// An enabled rule of a bucket's lifecycle, as far as pgweir needs it.
struct LifecycleRule {
  std::string id{};
  std::string prefix{};   ///< of the keys it applies to
  bool filtered = false;  ///< may apply to some of them only: by tags or sizes
  std::optional<std::uint64_t> expires_days{};
  std::optional<std::string> expires_date{};
  std::vector<std::string> moves_to{};  ///< storage classes
};
/// Returns nullopt if the body is not such a document.
[[nodiscard]] std::optional<std::vector<LifecycleRule>> parse_lifecycle(std::string_view body);
/// "Enabled", "Suspended"; empty: never set. nullopt likewise.
[[nodiscard]] std::optional<std::string> parse_versioning(std::string_view body);
struct LockSettings {
  bool enabled = false;
  std::string mode{};    ///< default mode of objects: "GOVERNANCE", "COMPLIANCE"
  std::string period{};  ///< "30 days"
};
[[nodiscard]] std::optional<LockSettings> parse_lock(std::string_view body);

/// The request body to remove these keys.
[[nodiscard]] std::string removal_request(std::span<const std::string> keys);
/// The same for versions of one key.
[[nodiscard]] std::string removal_request(const std::string& key,
                                          std::span<const std::string> versions);

/// The error for an unexpected answer. `what`: "could not …", `name`: the object or the bucket.
[[nodiscard]] StoreError error_of(const Answer& answer, const std::string& what,
                                  const std::string& name);
/// The same if there was no answer.
[[nodiscard]] StoreError error_of(const NoAnswer& failure, const std::string& what,
                                  const std::string& name);

/// The store's error code; empty: none. Azure also names it in a header.
[[nodiscard]] std::string code_of(const Answer& answer);

/// A single line of at most 200 bytes: a proxy may answer with a page of HTML.
[[nodiscard]] std::string short_text(std::string_view text);

/// Without quotes.
[[nodiscard]] std::string unquoted(std::string_view etag);
/// Without its quotes.
[[nodiscard]] std::string etag_of(const Answer& answer);

}  // namespace weir::store
