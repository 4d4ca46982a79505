#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/object_store.h"
#include "store/transport.h"

// What a store's answers say: XML of "Amazon S3 API Reference". Pure.

namespace weir::store {

/// "<Error><Code>…": the store's own words.
struct Refusal {
  std::string code{};
  std::string message{};
  std::string region{};  ///< the bucket's, where it is another one
};
/// nullopt: the body is no such document.
[[nodiscard]] std::optional<Refusal> parse_error(std::string_view body);

/// nullopt: the body is no listing. (An "<Error>" that comes with 200 is none.)
[[nodiscard]] std::optional<ObjectPage> parse_listing(std::string_view body);
/// False: the page of what is behind the key `after` says that there is more, and leads no further.
[[nodiscard]] bool leads_on(const ObjectPage& page, std::string_view after);
/// ListVersionsResult: those of this very key, as they stand there.
[[nodiscard]] std::optional<std::vector<ObjectStore::Version>> parse_versions(std::string_view body,
                                                                              std::string_view key);
/// DeleteResult: what was not removed.
[[nodiscard]] std::optional<std::vector<ObjectStore::Kept>> parse_removal(std::string_view body);

/// A rule of a bucket's lifecycle that is in force, as far as it concerns us.
struct LifecycleRule {
  std::string id{};
  std::string prefix{};   ///< of the keys that it is for
  bool filtered = false;  ///< and maybe of some of them only: by tags or sizes
  std::optional<std::uint64_t> expires_days{};
  std::optional<std::string> expires_date{};
  std::vector<std::string> moves_to{};  ///< storage classes
};
/// nullopt: the body is no such document.
[[nodiscard]] std::optional<std::vector<LifecycleRule>> parse_lifecycle(std::string_view body);
/// "Enabled", "Suspended"; empty: never set. nullopt likewise.
[[nodiscard]] std::optional<std::string> parse_versioning(std::string_view body);
struct LockSettings {
  bool enabled = false;
  std::string mode{};    ///< of objects that name none: "GOVERNANCE", "COMPLIANCE"
  std::string period{};  ///< "30 days"
};
[[nodiscard]] std::optional<LockSettings> parse_lock(std::string_view body);

/// The body that asks for the removal of these keys.
[[nodiscard]] std::string removal_request(std::span<const std::string> keys);
/// Of versions of one key.
[[nodiscard]] std::string removal_request(const std::string& key,
                                          std::span<const std::string> versions);

/// The error that an answer means which is not what was hoped for. `what`: "could not …", `name`:
/// the object or the bucket.
[[nodiscard]] StoreError error_of(const Answer& answer, const std::string& what,
                                  const std::string& name);
/// Likewise, where no answer came.
[[nodiscard]] StoreError error_of(const NoAnswer& failure, const std::string& what,
                                  const std::string& name);

/// Without its quotes.
[[nodiscard]] std::string etag_of(const Answer& answer);

}  // namespace weir::store
