#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "crypto/digest.h"
#include "store/object_store.h"
#include "support/bytes.h"

namespace weir::test {

/// A store in memory, with the faults of real ones. Any thread.
class MemoryStore final : public store::ObjectStore,
                          private store::Versions,
                          private store::BucketRules {
 public:
  struct Object {
    Bytes bytes{};
    store::Metadata metadata{};
    std::string etag{};
    bool to_lock = false;  ///< its writer asked for it
  };
  struct Call {
    std::uint64_t number = 0;  ///< 1 for the first one
    std::string what;          ///< "put", "head", "get", "list", "versions", "remove"
    std::string key;
  };
  enum class Fault {
    none,
    lost_answer,  ///< it is done, and nobody hears of it
    lost_request,
    late,  ///< a PUT: given up by the client, and done by do_late()
    throttled,
    refused,
  };
  /// What becomes of a call.
  std::function<Fault(const Call&)> fault;
  std::chrono::milliseconds retry_after{};  ///< what it says if it throttles
  enum class Conditions {
    heeded,
    ignored,
    refused,
    unmatched,  ///< Ceph with versions: If-None-Match is ignored, nothing fits an If-Match
  } conditions = Conditions::heeded;
  bool generations = false;  ///< an ETag is a number, as at Google, and no other text is accepted
  bool replaces = true;      ///< else refused, as with a right to create objects only
  bool versions_kept = false;
  bool versions_readable = true;         ///< else refused, without s3:GetObjectVersion
  std::set<std::string> removed_before;  ///< keys that were removed before their newest version
  std::map<std::string, Bytes> older;  ///< the oldest version of a key, where it is not the newest
  std::map<std::string, Object> objects;
  std::map<std::string, std::size_t> puts;      ///< of each key, that were done
  std::map<std::string, std::string> settings;  ///< of the bucket
  std::set<std::string> locked;                 ///< keys
  std::set<std::string> failing;                ///< likewise: their removal fails each time
  std::vector<Call> calls;
  std::function<void(const std::string& key)> before_put;  ///< another writer is quicker

  [[nodiscard]] std::string name() const override { return "s3://memory"; }

  [[nodiscard]] Put put_if_absent(const std::string& key, const store::Content& content) override {
    return with("put", key, [this, key, object = object_of(content)] {
      if (conditions == Conditions::refused)
        throw store::StoreError(store::Trouble::unable, "NotImplemented");
      if (before_put) before_put(key);
      if (conditions == Conditions::heeded && objects.contains(key)) return Put::taken;
      store(key, object);
      return Put::stored;
    });
  }
  void put(const std::string& key, const store::Content& content) override {
    with("put", key, [this, key, object = object_of(content)] {
      if (before_put) before_put(key);
      if (!replaces && objects.contains(key))
        throw store::StoreError(store::Trouble::refused, "AccessDenied");
      store(key, object);
      return true;
    });
  }
  [[nodiscard]] Put put_if_match(const std::string& key, const store::Content& content,
                                 const std::string& etag) override {
    if (conditions == Conditions::refused)
      throw store::StoreError(store::Trouble::unable, "NotImplemented");
    if (generations && etag.find_first_not_of("0123456789") != std::string::npos)
      throw store::StoreError(store::Trouble::refused, "InvalidArgument");
    return with("put", key, [this, key, etag, object = object_of(content)] {
      if (before_put) before_put(key);
      const auto found = objects.find(key);
      if (conditions == Conditions::unmatched) return Put::taken;
      if (!replaces && found != objects.end())
        throw store::StoreError(store::Trouble::refused, "AccessDenied");
      if (conditions == Conditions::heeded &&
          (found == objects.end() || found->second.etag != etag))
        return Put::taken;
      store(key, object);
      return Put::stored;
    });
  }
  /// What was given up takes effect.
  void do_late() {
    const std::lock_guard lock(mutex_);
    for (const auto& each : std::exchange(late_, {})) each();
  }
  [[nodiscard]] std::optional<store::ObjectHead> head(const std::string& key) override {
    return with("head", key, [&]() -> std::optional<store::ObjectHead> {
      const auto found = objects.find(key);
      if (found == objects.end()) return std::nullopt;
      return store::ObjectHead{found->second.bytes.size(), found->second.etag,
                               found->second.metadata, locked.contains(key),
                               store::md5_of_etag(found->second.etag)};
    });
  }
  bool get(const std::string& key, const std::optional<store::Range>& range,
           const codec::Sink& sink) override {
    const auto content = with("get", key, [&]() -> std::optional<Bytes> {
      const auto found = objects.find(key);
      return found == objects.end() ? std::nullopt : std::optional(found->second.bytes);
    });
    std::span<const std::byte> wanted;
    if (content) wanted = *content;
    if (range) {
      wanted = wanted.subspan(std::min<std::size_t>(wanted.size(), range->first));
      wanted = wanted.first(std::min<std::size_t>(wanted.size(), range->size));
    }
    if (content && !wanted.empty()) sink(wanted);
    return content.has_value();
  }
  [[nodiscard]] store::ObjectPage list(const std::string& prefix, const std::string& after,
                                       std::size_t most) override {
    return with("list", prefix, [&] {
      store::ObjectPage page;
      const auto first = std::max(objects.lower_bound(prefix), objects.upper_bound(after),
                                  [&](const auto& one, const auto& other) {
                                    if (one == objects.end()) return false;
                                    return other == objects.end() || one->first < other->first;
                                  });
      for (auto each = first; each != objects.end(); ++each) {
        const auto& [key, object] = *each;
        if (!key.starts_with(prefix)) break;
        if (page.objects.size() == most) {
          page.more = true;
          break;
        }
        page.objects.push_back({.key = key,
                                .size = object.bytes.size(),
                                .etag = object.etag,
                                .md5 = store::md5_of_etag(object.etag)});
      }
      return page;
    });
  }
  [[nodiscard]] std::vector<store::Kept> remove(std::span<const std::string> keys) override {
    return with("remove", keys.empty() ? "" : keys.front(), [&] {
      std::vector<store::Kept> kept;
      bool fails = false;
      for (const auto& key : keys) {
        fails = fails || failing.contains(key);
        if (locked.contains(key) || failing.contains(key))
          kept.push_back({key, locked.contains(key) ? "AccessDenied locked" : "InternalError"});
        else
          objects.erase(key);
      }
      if (fails)
        throw store::StoreError(store::Trouble::unreachable, "InternalError").with_left(kept);
      return kept;
    });
  }

  [[nodiscard]] Traits traits() const override {
    return {.etag_is_md5 = !generations,
            .rights_may_forbid_replacing = !replaces || generations,
            .right_to_remove = "s3:DeleteObject"};
  }
  [[nodiscard]] store::Versions* versions() override { return this; }
  [[nodiscard]] store::BucketRules* rules() override { return this; }

  /// How often this was asked so far.
  [[nodiscard]] std::size_t count(const std::string& what) {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count_if(
        calls.begin(), calls.end(), [&](const Call& call) { return call.what == what; }));
  }
  /// Somebody else has put it there.
  void place(const std::string& key, std::span<const std::byte> bytes) {
    crypto::Digest md5(crypto::Digest::Kind::md5);
    md5.add(bytes);
    objects[key] = {Bytes(bytes.begin(), bytes.end()), {}, crypto::to_hex(md5.finish())};
    ++puts[key];
  }

 private:
  // store::Versions
  [[nodiscard]] bool are_kept() const override { return versions_kept; }
  [[nodiscard]] std::vector<Version> of(const std::string& key) override {
    return with("versions", key, [&] {
      std::vector<Version> all;
      if (versions_kept)
        for (std::size_t i = puts[key]; i-- > 0;)
          all.push_back({std::string("v") + std::to_string(i)});
      if (removed_before.contains(key)) all.insert(all.begin() + 1, Version{"removal", true});
      return all;
    });
  }
  [[nodiscard]] std::optional<store::ObjectHead> head(const std::string& key,
                                                      const std::string& version) override {
    require_readable();
    const auto found = older.find(key);
    if (version != "v0" || found == older.end()) return head(key);
    crypto::Digest md5(crypto::Digest::Kind::md5);
    md5.add(found->second);
    const auto digest = crypto::to_hex(md5.finish());
    return store::ObjectHead{.size = found->second.size(), .etag = digest, .md5 = digest};
  }
  bool get(const std::string& key, const std::string& version,
           const std::optional<store::Range>& range, const codec::Sink& sink) override {
    require_readable();
    const auto found = older.find(key);
    if (version != "v0" || found == older.end()) return get(key, range, sink);
    std::span<const std::byte> wanted = found->second;
    if (range) wanted = wanted.subspan(range->first, range->size);
    sink(wanted);
    return true;
  }
  [[nodiscard]] std::vector<store::Kept> remove(const std::string& key,
                                                std::span<const std::string> versions) override {
    return with("remove", key, [&] {
      puts[key] -= versions.size();
      if (puts[key] == 0) objects.erase(key);
      return std::vector<store::Kept>();
    });
  }
  // store::BucketRules
  [[nodiscard]] std::optional<std::string> rule(const std::string& which) override {
    const auto found = settings.find(which);
    return found == settings.end() ? std::nullopt : std::optional(found->second);
  }

  void require_readable() const {
    if (!versions_readable) throw store::StoreError(store::Trouble::refused, "AccessDenied");
  }

  template <typename Action>
  auto with(const std::string& what, const std::string& key, Action action) -> decltype(action()) {
    const std::lock_guard lock(mutex_);
    calls.push_back({calls.size() + 1, what, key});
    const auto what_happens = fault ? fault(calls.back()) : Fault::none;
    using store::StoreError;
    using store::Trouble;
    if (what_happens == Fault::late) {
      if (what == "put") late_.push_back([action] { static_cast<void>(action()); });
      throw StoreError(Trouble::unreachable, "no answer");
    }
    if (what_happens == Fault::lost_request) throw StoreError(Trouble::unreachable, "no answer");
    if (what_happens == Fault::throttled)
      throw StoreError(Trouble::throttled, "SlowDown").with_retry_after(retry_after);
    if (what_happens == Fault::refused) throw StoreError(Trouble::refused, "AccessDenied");
    auto result = action();
    if (what_happens == Fault::lost_answer) throw StoreError(Trouble::unreachable, "no answer");
    return result;
  }
  static Object object_of(const store::Content& content) {
    Bytes bytes(content.bytes->size());
    bytes.resize(content.bytes->read_at(0, bytes));
    return {std::move(bytes), content.metadata, content.md5, content.locked};
  }
  void store(const std::string& key, const Object& object) {
    objects[key] = object;
    ++puts[key];
    if (generations) objects[key].etag = std::to_string(++generation_);
  }

  std::mutex mutex_;
  std::uint64_t generation_ = 0;
  std::vector<std::function<void()>> late_;
};

}  // namespace weir::test
