#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "codec/codec.h"
#include "io/shelf.h"

namespace weir::store {

/// Kinds of store errors, by the required reaction.
enum class Trouble {
  refused,      ///< permissions, keys, missing bucket, locked object: manual intervention required
  expired,      ///< the credentials have expired: others may be valid
  no_keys,      ///< no credentials from their source: temporary
  throttled,    ///< the store asks for fewer requests
  unreachable,  ///< no answer, or a server error: temporary
  clock,        ///< our clock and the store's differ too much
  region,       ///< the bucket is in another region
  unable,       ///< the store does not support the request
  stopped,      ///< stopped by the caller
};

/// An object that was not removed.
struct Kept {
  std::string key;
  std::string why;
};

/// A store did not execute a request. Never says whether an object exists: "absent" is a value
/// (nullopt, false), never an error of this kind, and vice versa (P9).
class StoreError : public ErrorAs<StoreError> {
 public:
  StoreError(Trouble trouble, std::string message);
  [[nodiscard]] Trouble trouble() const { return trouble_; }
  /// The store's error code, "SlowDown"; empty if it gave none.
  [[nodiscard]] const std::string& code() const { return code_; }
  StoreError&& with_code(std::string code) &&;
  /// The time before which the store does not want the request again (Retry-After); usually 0.
  [[nodiscard]] std::chrono::milliseconds retry_after() const { return retry_after_; }
  StoreError&& with_retry_after(std::chrono::milliseconds time) &&;
  /// If a removal failed for some objects only: all that were not removed. Empty: any of them may
  /// still be there.
  [[nodiscard]] const std::vector<Kept>& left() const { return left_; }
  StoreError&& with_left(std::vector<Kept> left) &&;

 private:
  Trouble trouble_;
  std::string code_;
  std::chrono::milliseconds retry_after_{};
  std::vector<Kept> left_{};
};
/// The same of any error: 0 if it is not the store's.
[[nodiscard]] std::chrono::milliseconds retry_after_of(const Error& error);
/// A retry may help, as for ErrorKind `retry`.
[[nodiscard]] bool may_pass(Trouble trouble);

/// nullopt: the store does not permit this request.
template <typename Request>
auto if_permitted(Request request) -> std::optional<decltype(request())> {
  try {
    return request();
  } catch (const StoreError& error) {
    if (error.trouble() != Trouble::refused) throw;
    return std::nullopt;
  }
}

/// User metadata: names in lower case, without "x-amz-meta-".
using Metadata = std::map<std::string, std::string>;

struct ObjectEntry {
  std::string key;
  std::uint64_t size = 0;
  std::string etag{};  ///< identifies its content for put_if_match(); without quotes
  /// When it was stored; max() if unknown.
  std::chrono::system_clock::time_point modified{};
  std::string md5{};    ///< of its bytes, hexadecimal; empty: unknown
  bool frozen = false;  ///< in an archive class: it cannot be read before it is restored there
};
struct ObjectHead {
  std::uint64_t size = 0;
  std::string etag{};
  Metadata metadata{};
  bool locked = false;  ///< the version cannot be removed, as far as the store says
  std::string md5{};    ///< as ObjectEntry's
};
struct ObjectPage {
  std::vector<ObjectEntry> objects{};
  bool more = false;  ///< there are more after the last one; ask again with its key as `after`
};

/// An object's content: bytes that must not change during the upload, and their digests.
struct Content {
  io::Bytes* bytes = nullptr;  ///< not owned
  std::string sha256{};        ///< hexadecimal
  std::string md5{};           ///< likewise
  Metadata metadata{};
  bool locked = false;  ///< with Object Lock, if the store has a retention period set
};

/// Objects requested per page of a listing: S3's maximum (ListObjectsV2).
inline constexpr std::size_t kListingPage = 1000;
/// Maximum size of a file: the largest segment, plus the overhead of compression and encryption.
inline constexpr std::uint64_t kLargestFile = (std::uint64_t{1} << 30) + (std::uint64_t{1} << 27);

/// A part of an object: its offset, and its size.
struct Range {
  std::uint64_t first = 0;
  std::uint64_t size = 0;
};

/// Earlier versions of objects: a feature of a store. Like ObjectStore.
class Versions {
 public:
  struct Version {
    std::string id;
    bool removal = false;  ///< a delete marker, which has no bytes
    bool operator==(const Version&) const = default;
  };

  virtual ~Versions() = default;
  Versions() = default;
  Versions(const Versions&) = delete;
  Versions& operator=(const Versions&) = delete;

  /// True once an answer has shown that the bucket is versioned.
  [[nodiscard]] virtual bool are_kept() const = 0;
  /// The versions of one key, the newest first; empty if the bucket is not versioned.
  [[nodiscard]] virtual std::vector<Version> of(const std::string& key) = 0;
  [[nodiscard]] virtual std::optional<ObjectHead> head(const std::string& key,
                                                       const std::string& version) = 0;
  virtual bool get(const std::string& key, const std::string& version,
                   const std::optional<Range>& range, const codec::Sink& sink) = 0;
  /// Permanently removes these versions of a key.
  [[nodiscard]] virtual std::vector<Kept> remove(const std::string& key,
                                                 std::span<const std::string> versions) = 0;
};

/// The rules of a bucket: a feature of stores whose own interface has them. Like ObjectStore.
class BucketRules {
 public:
  virtual ~BucketRules() = default;
  BucketRules() = default;
  BucketRules(const BucketRules&) = delete;
  BucketRules& operator=(const BucketRules&) = delete;

  /// As S3's XML: "versioning", "lifecycle", "object-lock". Returns nullopt if not set.
  [[nodiscard]] virtual std::optional<std::string> rule(const std::string& which) = 0;
};

/// Objects under keys, written once and whole. Any thread. Requests are not retried here, except
/// after expired credentials and clock differences. Throws StoreError, and what reading the content
/// or a sink throws.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  ObjectStore() = default;
  ObjectStore(const ObjectStore&) = delete;
  ObjectStore& operator=(const ObjectStore&) = delete;

  /// "s3://bucket", "azure://container": for messages.
  [[nodiscard]] virtual std::string name() const = 0;
  [[nodiscard]] std::string name_of(const std::string& key) const { return name() + "/" + key; }

  /// Properties of this kind of store.
  struct Traits {
    bool etag_is_md5 = false;  ///< of what was put, as far as known; else head() returns it
    /// Credentials may permit to create objects, and not to replace them: a refused put() of an
    /// existing object may mean that.
    bool rights_may_forbid_replacing = false;
    std::string right_to_remove{};  ///< that remove() needs, in the store's words
  };
  [[nodiscard]] virtual Traits traits() const = 0;

  enum class Put {
    stored,
    taken,  ///< a condition was not met; the object may be ours, if an answer was lost
  };
  // Conditions throw StoreError{unable} if the store does not support them; some ignore them
  // (write_once.h).
  /// Creates an object ("If-None-Match: *"). `taken`: the key exists.
  [[nodiscard]] virtual Put put_if_absent(const std::string& key, const Content& content) = 0;
  /// Replaces the object that has this ETag ("If-Match"). `taken`: it has another ETag by now, or
  /// does not exist.
  [[nodiscard]] virtual Put put_if_match(const std::string& key, const Content& content,
                                         const std::string& etag) = 0;
  virtual void put(const std::string& key, const Content& content) = 0;
  /// Returns nullopt if there is no such object.
  [[nodiscard]] virtual std::optional<ObjectHead> head(const std::string& key) = 0;
  /// Returns false if there is no such object. Ends if the sink returns false. Without a range:
  /// all.
  virtual bool get(const std::string& key, const std::optional<Range>& range,
                   const codec::Sink& sink) = 0;
  /// Keys that start with `prefix`, in order, after `after`, at most `most`.
  [[nodiscard]] virtual ObjectPage list(const std::string& prefix, const std::string& after,
                                        std::size_t most) = 0;
  /// At most 1000 keys. Returns those that were not removed; missing objects count as removed. If
  /// some of them could not be removed now, StoreError::left() names these (store/removal.h).
  [[nodiscard]] virtual std::vector<Kept> remove(std::span<const std::string> keys) = 0;

  // Features that not every store has: nullptr then.
  [[nodiscard]] virtual Versions* versions() { return nullptr; }
  [[nodiscard]] virtual BucketRules* rules() { return nullptr; }
};

/// An ETag of S3 is the MD5 of the object's bytes if it was stored in one part, and without
/// encryption by a key of the store's: empty if it does not look like one.
[[nodiscard]] std::string md5_of_etag(std::string_view etag);

/// The ids of a key's versions, without delete markers, the newest first; empty if there are no
/// versions.
[[nodiscard]] std::vector<std::string> versions_of(ObjectStore& store, const std::string& key);

/// Archived objects have one version. If another one was put over it, the oldest is the archived
/// one. Empty: there is only one, or the bucket is not versioned. Sends a request only if the
/// bucket is known to be versioned.
[[nodiscard]] std::string oldest_version(ObjectStore& store, const std::string& key);

/// The whole object. Throws Error{damage} if it is larger than `most`. nullopt: it does not exist.
[[nodiscard]] std::optional<std::string> get_text(ObjectStore& store, const std::string& key,
                                                  std::uint64_t most);

}  // namespace weir::store
