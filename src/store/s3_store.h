#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/log.h"
#include "store/credentials.h"
#include "store/object_store.h"
#include "store/transport.h"
#include "store/url.h"

namespace weir::store {

/// A bucket accessed by the S3 protocol. Each request is signed with Signature Version 4, has its
/// body's digest as x-amz-content-sha256 and, if there is a body, as Content-MD5. No multipart
/// uploads, no redirects.
class S3Store final : public ObjectStore {
 public:
  enum class Style {
    automatic,  ///< `path` if an endpoint is given, else `host`
    path,       ///< https://ENDPOINT/BUCKET/KEY
    host,       ///< https://BUCKET.ENDPOINT/KEY
  };
  struct Settings {
    std::string bucket;
    Endpoint endpoint{};  ///< without a host: AWS's endpoint for the region
    std::string region = "us-east-1";
    Style style = Style::automatic;
    std::string storage_class{};  ///< empty: the bucket's default
    /// Object Lock of the uploaded objects; without a time, none.
    struct Lock {
      std::chrono::milliseconds time{};
      bool compliance = false;  ///< else "governance", which some permissions override
    };
    std::optional<Lock> lock{};
    std::string encryption{};  ///< "AES256", "aws:kms", "aws:kms:KEY"; empty: the bucket's default
  };
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  /// Does not own its arguments.
  S3Store(Settings settings, Transport& transport, CredentialSource& credentials, Clock clock,
          Log& log);

  [[nodiscard]] std::string name() const override { return "s3://" + settings_.bucket; }
  [[nodiscard]] Put put_if_absent(const std::string& key, const Content& content) override;
  void put(const std::string& key, const Content& content) override;
  [[nodiscard]] Put put_if_match(const std::string& key, const Content& content,
                                 const std::string& etag) override;
  [[nodiscard]] std::optional<ObjectHead> head(const std::string& key) override;
  bool get(const std::string& key, const std::optional<Range>& range,
           const codec::Sink& sink) override {
    return get_version(key, "", range, sink);
  }
  bool get_version(const std::string& key, const std::string& version,
                   const std::optional<Range>& range, const codec::Sink& sink) override;
  [[nodiscard]] bool keeps_versions() const override { return keeps_versions_; }
  [[nodiscard]] ObjectPage list(const std::string& prefix, const std::string& after,
                                std::size_t most) override;
  [[nodiscard]] std::vector<std::string> versions(const std::string& key) override;
  [[nodiscard]] std::vector<Version> versions_and_removals(const std::string& key) override;
  [[nodiscard]] std::optional<ObjectHead> head_version(const std::string& key,
                                                       const std::string& version) override;
  [[nodiscard]] std::optional<std::string> setting(const std::string& which) override;
  [[nodiscard]] std::vector<Kept> remove(std::span<const std::string> keys) override;
  [[nodiscard]] std::vector<Kept> remove_versions(const std::string& key,
                                                  std::span<const std::string> versions) override;

 private:
  std::vector<Kept> remove_by(const std::string& request, std::span<const std::string> keys);
  struct Call {
    std::string method;
    std::string what;   ///< "could not …"
    std::string key{};  ///< empty: the bucket itself
    Query query{};
    std::vector<Request::Header> headers{};
    io::Bytes* body = nullptr;
    std::string sha256{};
    codec::Sink sink = nullptr;
  };
  Answer perform(const Call& call);
  Answer send(const Call& call, const Credentials& credentials);
  [[nodiscard]] StoreError error(const Answer& answer, const Call& call) const;
  void require_stored(const Answer& answer, const std::string& key, const Content& content);
  [[nodiscard]] Call put_call(const std::string& key, const Content& content) const;
  [[nodiscard]] std::string name_of_call(const Call& call) const;

  const Settings settings_;
  bool host_style_;
  std::string host_;
  Transport& transport_;
  CredentialSource& credentials_;
  const Clock clock_;
  Log& log_;
  /// Offset from our clock to the store's.
  std::atomic<std::chrono::seconds::rep> ahead_ = 0;
  std::atomic<bool> keeps_versions_ = false;
  std::atomic<bool> matches_bare_ = false;  ///< its If-Match compares ETags without quotes
  std::atomic<bool> knows_no_match_ = false;
};

}  // namespace weir::store
