#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/log.h"
#include "store/http/credentials.h"
#include "store/http/dialect.h"
#include "store/http/transport.h"
#include "store/object_store.h"

namespace weir::store {

/// A bucket accessed over HTTP, in the dialect of its provider: sends requests, renews credentials,
/// follows the store's clock. No multipart uploads, no redirects.
class HttpStore final : public ObjectStore, private Versions, private BucketRules {
 public:
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  /// Does not own the last four.
  HttpStore(std::unique_ptr<const Dialect> dialect, Transport& transport,
            CredentialSource& credentials, Clock clock, Log& log);

  [[nodiscard]] std::string name() const override { return dialect_->name(); }
  [[nodiscard]] Put put_if_absent(const std::string& key, const Content& content) override;
  void put(const std::string& key, const Content& content) override;
  [[nodiscard]] Put put_if_match(const std::string& key, const Content& content,
                                 const std::string& etag) override;
  [[nodiscard]] Traits traits() const override;
  [[nodiscard]] std::optional<ObjectHead> head(const std::string& key) override {
    return head(key, "");
  }
  bool get(const std::string& key, const std::optional<Range>& range,
           const codec::Sink& sink) override {
    return get(key, "", range, sink);
  }
  [[nodiscard]] ObjectPage list(const std::string& prefix, const std::string& after,
                                std::size_t most) override;
  [[nodiscard]] std::vector<Kept> remove(std::span<const std::string> keys) override;
  [[nodiscard]] Versions* versions() override { return dialect_->has_versions() ? this : nullptr; }
  [[nodiscard]] BucketRules* rules() override { return dialect_->has_rules() ? this : nullptr; }

 private:
  // Versions; an empty one is the newest
  [[nodiscard]] bool are_kept() const override { return keeps_versions_; }
  [[nodiscard]] std::vector<Version> of(const std::string& key) override;
  [[nodiscard]] std::optional<ObjectHead> head(const std::string& key,
                                               const std::string& version) override;
  bool get(const std::string& key, const std::string& version, const std::optional<Range>& range,
           const codec::Sink& sink) override;
  [[nodiscard]] std::vector<Kept> remove(const std::string& key,
                                         std::span<const std::string> versions) override;
  // BucketRules
  [[nodiscard]] std::optional<std::string> rule(const std::string& which) override;

  struct Call {
    Dialect::Operation operation{};
    std::string what;  ///< "could not …"
    Dialect::Asked asked;
    codec::Sink sink = nullptr;
  };
  Answer perform(const Call& call);
  Answer send(const Call& call, const Credentials& credentials);
  [[nodiscard]] StoreError error(const Answer& answer, const Call& call) const;
  void require_stored(const Answer& answer, const std::string& key, const Content& content);
  [[nodiscard]] Call put_call(const std::string& key, const Content& content) const;
  [[nodiscard]] std::string name_of_call(const Call& call) const;
  [[nodiscard]] std::chrono::sys_seconds store_time() const;
  [[nodiscard]] std::vector<Kept> remove_by(const std::string& request,
                                            std::span<const std::string> keys);
  [[nodiscard]] std::optional<std::vector<Kept>> try_remove_by(const std::string& request,
                                                               std::span<const std::string> keys);
  [[nodiscard]] std::vector<std::string> remove_in_batches(std::span<const std::string> keys);
  /// Returns why it was not removed.
  [[nodiscard]] std::optional<std::string> remove_one(const std::string& key,
                                                      const std::string& version);
  [[nodiscard]] Dialect::Page list_page(const std::string& prefix, const std::string& after,
                                        std::size_t most, const std::string& marker);

  const std::unique_ptr<const Dialect> dialect_;
  Transport& transport_;
  CredentialSource& credentials_;
  const Clock clock_;
  Log& log_;
  /// Offset from our clock to the store's.
  std::atomic<std::chrono::seconds::rep> ahead_ = 0;
  std::atomic<bool> keeps_versions_ = false;
  std::atomic<bool> hides_md5_ = false;     ///< in listings, which do not show it
  std::atomic<bool> matches_bare_ = false;  ///< its If-Match compares ETags without quotes
  std::atomic<bool> knows_no_match_ = false;
  std::atomic<bool> removes_singly_ = false;
  /// Markers of the next pages, by prefix and the last key of a page: a store may not skip to a
  /// key.
  std::mutex markers_mutex_;
  std::map<std::pair<std::string, std::string>, std::string> markers_{};
};

}  // namespace weir::store
