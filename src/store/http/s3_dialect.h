#pragma once

#include "store/http/dialect.h"

namespace weir::store {

/// S3, signed with Signature Version 4, with the body's digest as x-amz-content-sha256 and
/// Content-MD5; and the XML API of Google Cloud Storage, whose names and conditions differ
/// (generations in place of ETags), and which also accepts bearer tokens.
class S3Dialect final : public Dialect {
 public:
  enum class Provider { any, google };
  /// `kind`: s3 or gs, for messages.
  S3Dialect(BucketSettings settings, StoreKind kind, Provider provider);

  [[nodiscard]] std::string name() const override;
  [[nodiscard]] std::string right_for(Operation operation) const override;
  [[nodiscard]] Request signed_request(const Asked& asked, const Credentials& credentials,
                                       Time now) const override;
  [[nodiscard]] Headers put_headers(const Content& content, Time now) const override;
  [[nodiscard]] Request::Header if_absent() const override;
  [[nodiscard]] Request::Header if_match(const std::string& etag, bool bare) const override;
  [[nodiscard]] PutResult put_result(const Answer& answer) const override;
  [[nodiscard]] bool rights_may_mean_taken() const override { return google_; }
  [[nodiscard]] bool is_absent(const Answer& answer) const override;
  [[nodiscard]] ObjectHead head_of(const Answer& answer, Time now) const override;
  [[nodiscard]] std::string md5_of(const Answer& answer) const override;
  [[nodiscard]] bool etag_is_md5() const override { return !google_; }
  [[nodiscard]] bool hides_md5(const Answer& answer) const override;
  [[nodiscard]] Query listing(const std::string& prefix, const std::string& after, std::size_t most,
                              const std::string& marker) const override;
  [[nodiscard]] std::optional<Page> parse_page(std::string_view body) const override;
  [[nodiscard]] bool has_versions() const override { return !google_; }
  [[nodiscard]] bool shows_versions(const Answer& answer) const override;
  [[nodiscard]] std::string version_parameter() const override { return "versionId"; }
  [[nodiscard]] Query versions_listing(const std::string& key) const override;
  [[nodiscard]] Query next_versions(std::string_view body, std::string_view key) const override;
  [[nodiscard]] std::optional<std::vector<Versions::Version>> parse_versions_of(
      std::span<const std::string> pages, std::string_view key) const override;
  [[nodiscard]] bool has_rules() const override { return !google_; }
  [[nodiscard]] bool removes_many() const override { return true; }

 private:
  /// "x-amz-NAME", "x-goog-NAME"
  [[nodiscard]] std::string header(std::string_view name) const;

  const BucketSettings settings_;
  const StoreKind kind_;
  const bool google_;
  bool host_style_ = false;
  std::string host_;
};

}  // namespace weir::store
