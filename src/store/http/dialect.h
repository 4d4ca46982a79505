#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/http/credentials.h"
#include "store/http/transport.h"
#include "store/http/url.h"
#include "store/object_store.h"

namespace weir::store {

/// Where the bucket is named in the URL.
enum class Style {
  automatic,  ///< `path` if an endpoint is given, else `host`
  path,       ///< https://ENDPOINT/BUCKET/KEY
  host,       ///< https://BUCKET.ENDPOINT/KEY
};

/// Lock of the uploaded objects, until that time has passed.
struct Lock {
  std::chrono::milliseconds time{};
  bool compliance = false;  ///< else "governance", which some permissions override
};

/// Address of a bucket, and how objects are stored in it.
struct BucketSettings {
  std::string bucket;
  Endpoint endpoint{};  ///< without a host: the provider's
  std::string region = "us-east-1";
  Style style = Style::automatic;
  std::string storage_class{};  ///< empty: the bucket's default
  std::optional<Lock> lock{};
  std::string
      encryption{};       ///< S3: "AES256", "aws:kms", "aws:kms:KEY"; empty: the bucket's default
  std::string account{};  ///< Azure's storage account
  std::string version{};  ///< Azure's x-ms-version; empty: kAzureVersion
};

/// How one kind of store is addressed, asked, and understood: the requests of the operations, their
/// signatures, and the meaning of the answers. Pure except for libcrypto, which it loads. Any
/// thread.
class Dialect {
 public:
  using Headers = std::vector<Request::Header>;
  using Time = std::chrono::sys_seconds;

  virtual ~Dialect() = default;
  Dialect() = default;
  Dialect(const Dialect&) = delete;
  Dialect& operator=(const Dialect&) = delete;

  enum class Operation { put, read, list, remove, settings };
  /// The right that an operation needs, in the store's words.
  [[nodiscard]] virtual std::string right_for(Operation operation) const = 0;

  /// A request before it is signed.
  struct Asked {
    std::string method;
    std::string key{};  ///< empty: the bucket itself
    Query query{};
    Headers headers{};
    io::Bytes* body = nullptr;
    std::string sha256{};  ///< of the body, hexadecimal
  };
  /// "s3://bucket"
  [[nodiscard]] virtual std::string name() const = 0;
  /// With its URL and all headers. `now`: the store's time.
  [[nodiscard]] virtual Request signed_request(const Asked& asked, const Credentials& credentials,
                                               Time now) const = 0;

  // Objects
  [[nodiscard]] virtual Headers put_headers(const Content& content, Time now) const = 0;
  /// The condition that there is no object.
  [[nodiscard]] virtual Request::Header if_absent() const = 0;
  /// The condition that the object is the one with this ETag. `bare`: an ETag without quotes.
  [[nodiscard]] virtual Request::Header if_match(const std::string& etag, bool bare) const = 0;
  enum class PutResult { stored, taken, absent, failed };
  /// `taken`: a condition was not met; `absent`: likewise, because there is no object.
  [[nodiscard]] virtual PutResult put_result(const Answer& answer) const = 0;
  /// A store may reject a PUT over an object by its rights alone: whether the object exists must be
  /// asked then.
  [[nodiscard]] virtual bool rights_may_mean_taken() const { return false; }
  /// The answer to a HEAD says why it failed. If not, a GET is sent.
  [[nodiscard]] virtual bool head_tells_errors() const { return false; }
  /// There is no such object, while the bucket exists.
  [[nodiscard]] virtual bool is_absent(const Answer& answer) const = 0;
  /// Reads the answer to a successful HEAD, except the size.
  [[nodiscard]] virtual ObjectHead head_of(const Answer& answer, Time now) const = 0;
  /// The MD5 of an object in the answer to its PUT, hexadecimal; empty: not told.
  [[nodiscard]] virtual std::string md5_of(const Answer& answer) const = 0;
  [[nodiscard]] virtual bool etag_is_md5() const { return false; }
  /// The answer shows that the store encrypts by a key such that ETags of listings are no MD5s.
  [[nodiscard]] virtual bool hides_md5(const Answer& /*answer*/) const { return false; }

  // Listings
  struct Page {
    ObjectPage page{};
    std::string marker{};  ///< where the next page starts, if the store names that
  };
  /// `marker`: of the page before; empty: the first keys after `after`.
  [[nodiscard]] virtual Query listing(const std::string& prefix, const std::string& after,
                                      std::size_t most, const std::string& marker) const = 0;
  /// Returns nullopt if the body is not a listing.
  [[nodiscard]] virtual std::optional<Page> parse_page(std::string_view body) const = 0;

  // Versions, if has_versions()
  [[nodiscard]] virtual bool has_versions() const { return true; }
  [[nodiscard]] virtual bool shows_versions(const Answer& answer) const = 0;
  /// The query parameter that selects a version of an object.
  [[nodiscard]] virtual std::string version_parameter() const = 0;
  [[nodiscard]] virtual Query versions_listing(const std::string& key) const = 0;
  /// The parameters to add for the page after this one; empty: it has the rest of the key's
  /// versions.
  [[nodiscard]] virtual Query next_versions(std::string_view body, std::string_view key) const = 0;
  /// `pages`: bodies, in order. Returns nullopt if one is not such a listing. The newest first.
  [[nodiscard]] virtual std::optional<std::vector<Versions::Version>> parse_versions_of(
      std::span<const std::string> pages, std::string_view key) const = 0;

  /// BucketRules and the removal of many objects by one request are supported, as S3 does both.
  [[nodiscard]] virtual bool has_rules() const { return false; }
  [[nodiscard]] virtual bool removes_many() const { return false; }

  // Batches: requests that consist of requests, each with a signature of its own
  /// How many objects one batch removes; 0: there are none.
  [[nodiscard]] virtual std::size_t batch_size() const { return 0; }
  struct Batch {
    Asked asked{};  ///< without a body
    std::string body{};
  };
  [[nodiscard]] virtual Batch removal_batch(std::span<const std::string> keys,
                                            const Credentials& credentials, Time now) const;
  /// For each of `count` keys, in order, whether it is not there any more. Empty: the answer does
  /// not tell.
  [[nodiscard]] virtual std::vector<bool> removed_by_batch(const Answer& answer,
                                                           std::size_t count) const;
};

/// "Sun, 22 Nov 2026 00:00:00 GMT" (RFC 9110, 5.6.7)
[[nodiscard]] std::optional<std::chrono::sys_seconds> parse_http_date(const std::string& text);
[[nodiscard]] std::string to_http_date(std::chrono::sys_seconds time);
/// An MD5 in the form of Content-MD5, and back. Returns "" for anything else.
[[nodiscard]] std::string base64_of_hex(std::string_view hex);
[[nodiscard]] std::string hex_of_base64(std::string_view base64);

}  // namespace weir::store
