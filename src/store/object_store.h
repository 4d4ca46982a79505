#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "codec/codec.h"
#include "io/shelf.h"

namespace weir::store {

/// What a store's trouble means for who has asked.
enum class Trouble {
  refused,      ///< rights, keys, no such bucket, a frozen object: a person is needed
  expired,      ///< the credentials are no longer good: others may be
  no_keys,      ///< whoever gives credentials gave none: may pass
  throttled,    ///< it asks us to be slower
  unreachable,  ///< no answer, or one of a server in trouble: may pass
  clock,        ///< our clock and the store's differ too much
  region,       ///< the bucket is elsewhere
  unable,       ///< the store does not know such a request
  stopped,      ///< we have given up ourselves
};

/// A store did not do what was asked. Whether there is an object was not told by it: "absent" is a
/// value (nullopt, false), never an error of this kind, and never the other way round (P9).
class StoreError : public ErrorAs<StoreError> {
 public:
  StoreError(Trouble trouble, std::string message);
  [[nodiscard]] Trouble trouble() const { return trouble_; }
  /// The store's own word, "SlowDown"; empty if it gave none.
  [[nodiscard]] const std::string& code() const { return code_; }
  StoreError&& with_code(std::string code) &&;

 private:
  Trouble trouble_;
  std::string code_;
};
/// Asking again may help. `retry` of ErrorKind says the same.
[[nodiscard]] bool may_pass(Trouble trouble);

/// User metadata: names in lower case, without "x-amz-meta-".
using Metadata = std::map<std::string, std::string>;

struct ObjectEntry {
  std::string key;
  std::uint64_t size = 0;
  std::string etag{};  ///< without quotes
  /// When it was stored; max() if the store does not say.
  std::chrono::system_clock::time_point modified{};
};
struct ObjectHead {
  std::uint64_t size = 0;
  std::string etag{};
  Metadata metadata{};
  bool locked = false;  ///< nobody may remove this version, as far as the store tells
};
struct ObjectPage {
  std::vector<ObjectEntry> objects{};
  bool more = false;  ///< behind the last one, which there is; ask again with its key as `after`
};

/// What is put under a key: bytes that do not change meanwhile, and their digests.
struct Content {
  io::Bytes* bytes = nullptr;  ///< not owned
  std::string sha256{};        ///< hexadecimal
  std::string md5{};           ///< likewise
  Metadata metadata{};
  bool locked = false;  ///< nobody is to remove it for a time, if the store was told one
};

/// Objects of a listing that are asked for at once: what S3 gives at most (ListObjectsV2).
inline constexpr std::size_t kListingPage = 1000;
/// Bytes of one file: the largest segment, and what compressing it in vain or sealing it adds.
inline constexpr std::uint64_t kLargestFile = (std::uint64_t{1} << 30) + (std::uint64_t{1} << 27);

/// Objects under keys, written once and whole. Any thread. Nothing is tried again here, but for
/// credentials that have expired and a clock that differs. Throws StoreError; and what reading the
/// content or a sink throws.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  ObjectStore() = default;
  ObjectStore(const ObjectStore&) = delete;
  ObjectStore& operator=(const ObjectStore&) = delete;

  /// "s3://bucket", for messages.
  [[nodiscard]] virtual std::string name() const = 0;
  [[nodiscard]] std::string name_of(const std::string& key) const { return name() + "/" + key; }

  enum class Put {
    stored,
    taken,  ///< there is an object under this key, which may be ours: an answer was lost
  };
  /// "If-None-Match: *", which not every store heeds (probe.h).
  [[nodiscard]] virtual Put put_if_absent(const std::string& key, const Content& content) = 0;
  virtual void put(const std::string& key, const Content& content) = 0;
  /// Over the object that has this ETag ("If-Match"), which not every store heeds. `taken`: it is
  /// another one by now, or there is none.
  [[nodiscard]] virtual Put put_if_match(const std::string& key, const Content& content,
                                         const std::string& etag) {
    const auto there = head(key);
    if (!there || there->etag != etag) return Put::taken;
    put(key, content);
    return Put::stored;
  }
  /// nullopt: there is no such object.
  [[nodiscard]] virtual std::optional<ObjectHead> head(const std::string& key) = 0;
  struct Range {
    std::uint64_t first = 0;
    std::uint64_t size = 0;
  };
  /// False: there is no such object. Gives up where the sink wants no more. Without a range all.
  virtual bool get(const std::string& key, const std::optional<Range>& range,
                   const codec::Sink& sink) = 0;
  /// Keys that begin with `prefix`, in order, from behind `after` on, at most `most`.
  [[nodiscard]] virtual ObjectPage list(const std::string& prefix, const std::string& after,
                                        std::size_t most) = 0;
  /// The version ids that a store which keeps versions has of one key, the newest first; empty
  /// where versions are not known.
  [[nodiscard]] virtual std::vector<std::string> versions(const std::string& key) = 0;
  struct Version {
    std::string id;
    bool removal = false;  ///< the object was removed then: a marker, which has no bytes
    bool operator==(const Version&) const = default;
  };
  /// As versions(), with the removals between them.
  [[nodiscard]] virtual std::vector<Version> versions_and_removals(const std::string& key) {
    std::vector<Version> all;
    for (auto& id : versions(key)) all.push_back({std::move(id)});
    return all;
  }
  /// True once an answer has told that the bucket keeps versions.
  [[nodiscard]] virtual bool keeps_versions() const { return false; }
  /// As head(), of that version; empty: of the newest.
  [[nodiscard]] virtual std::optional<ObjectHead> head_version(const std::string& key,
                                                               const std::string& version) {
    static_cast<void>(version);
    return head(key);
  }
  /// As get(), of that version; empty: of the newest.
  virtual bool get_version(const std::string& key, const std::string& version,
                           const std::optional<Range>& range, const codec::Sink& sink) {
    static_cast<void>(version);
    return get(key, range, sink);
  }
  /// What the bucket is set to do, as the store's own XML: "versioning", "lifecycle",
  /// "object-lock". nullopt: nothing of the kind, or the store does not know such a thing.
  [[nodiscard]] virtual std::optional<std::string> setting(const std::string& which) {
    static_cast<void>(which);
    return std::nullopt;
  }
  struct Kept {
    std::string key;
    std::string why;
  };
  /// At most 1000. Those that the store keeps; what is not there counts as removed.
  [[nodiscard]] virtual std::vector<Kept> remove(std::span<const std::string> keys) = 0;
  /// Of one key these versions, for good. Where none are kept: the object.
  [[nodiscard]] virtual std::vector<Kept> remove_versions(const std::string& key,
                                                          std::span<const std::string> versions) {
    static_cast<void>(versions);
    return remove(std::span(&key, 1));
  }
};

/// What is written once has one version. Where somebody has put another one over it, the oldest is
/// what was archived. Empty: there is but one, or the bucket keeps none. Asks only a bucket that is
/// known to keep versions.
[[nodiscard]] std::string oldest_version(ObjectStore& store, const std::string& key);

/// The whole object, if it is not larger than `most`: that is Error{damage}. nullopt: there is
/// none.
[[nodiscard]] std::optional<std::string> get_text(ObjectStore& store, const std::string& key,
                                                  std::uint64_t most);

}  // namespace weir::store
