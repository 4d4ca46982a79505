#pragma once

#include "store/http/dialect.h"

namespace weir::store {

/// Sent as x-ms-version: the first that lists from a key on (startFrom) is 2023-05-03.
inline constexpr const char* kAzureVersion = "2023-11-03";

/// Blobs of Azure Blob Storage ("Blob Storage REST API"): block blobs, each put whole. Signed with
/// the account's key, or with a bearer token, or a shared access signature. An ETag is never an
/// MD5. The endpoint's path is the account in emulators.
class AzureDialect final : public Dialect {
 public:
  explicit AzureDialect(BucketSettings settings);

  [[nodiscard]] std::string name() const override;
  [[nodiscard]] std::string right_for(Operation operation) const override;
  /// Throws Error{usage} if the account's key is not base64.
  [[nodiscard]] Request signed_request(const Asked& asked, const Credentials& credentials,
                                       Time now) const override;
  [[nodiscard]] Headers put_headers(const Content& content, Time now) const override;
  [[nodiscard]] Request::Header if_absent() const override { return {"If-None-Match", "*"}; }
  [[nodiscard]] Request::Header if_match(const std::string& etag, bool bare) const override;
  [[nodiscard]] PutResult put_result(const Answer& answer) const override;
  [[nodiscard]] bool rights_may_mean_taken() const override { return true; }
  [[nodiscard]] bool head_tells_errors() const override { return true; }
  [[nodiscard]] bool is_absent(const Answer& answer) const override;
  [[nodiscard]] ObjectHead head_of(const Answer& answer, Time now) const override;
  [[nodiscard]] std::string md5_of(const Answer& answer) const override;
  [[nodiscard]] Query listing(const std::string& prefix, const std::string& after, std::size_t most,
                              const std::string& marker) const override;
  [[nodiscard]] std::optional<Page> parse_page(std::string_view body) const override;
  [[nodiscard]] bool shows_versions(const Answer& answer) const override;
  [[nodiscard]] std::string version_parameter() const override { return "versionid"; }
  [[nodiscard]] Query versions_listing(const std::string& key) const override;
  [[nodiscard]] Query next_versions(std::string_view body, std::string_view key) const override;
  [[nodiscard]] std::optional<std::vector<Versions::Version>> parse_versions_of(
      std::span<const std::string> pages, std::string_view key) const override;
  [[nodiscard]] std::size_t batch_size() const override;
  [[nodiscard]] Batch removal_batch(std::span<const std::string> keys,
                                    const Credentials& credentials, Time now) const override;
  [[nodiscard]] std::vector<bool> removed_by_batch(const Answer& answer,
                                                   std::size_t count) const override;

 private:
  [[nodiscard]] std::string path_of(const std::string& key) const;
  /// Returns the query to be sent. Throws as signed_request().
  std::string sign(const std::string& method, const std::string& path, const Query& query,
                   std::uint64_t body_size, const Credentials& credentials, Headers& headers) const;

  const BucketSettings settings_;
};

/// The metadata's name at Azure, which must be an identifier of C#: "pgweir-system-id" is
/// "pgweirsystemid" there. Letters only: Azure's order of signs in signatures is not that of bytes.
[[nodiscard]] std::string azure_metadata_name(std::string_view name);

}  // namespace weir::store
