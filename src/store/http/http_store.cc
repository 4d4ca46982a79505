#include "store/http/http_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "base/for_each_index.h"
#include "base/text.h"
#include "base/units.h"
#include "crypto/digest.h"
#include "store/http/answers.h"
#include "store/memory_bytes.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

using Operation = Dialect::Operation;

/// Listings that were left before their end do not add up.
constexpr std::size_t kMarkers = 64;

/// Requests at once, where each removes one object.
constexpr std::size_t kRemovals = 8;

}  // namespace

std::string md5_of_etag(std::string_view etag) {
  constexpr std::size_t kDigits = 32;
  const bool is_md5 = etag.size() == kDigits &&
                      etag.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  return is_md5 ? std::string(etag) : std::string();
}

std::optional<std::string> get_text(ObjectStore& store, const std::string& key,
                                    std::uint64_t most) {
  std::string text;
  const bool there = store.get(key, std::nullopt, [&](std::span<const std::byte> piece) {
    text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    if (text.size() > most)
      throw Error(ErrorKind::damage, "an object in the store is too large")
          .with("object", store.name_of(key));
    return true;
  });
  return there ? std::optional(std::move(text)) : std::nullopt;
}

std::vector<std::string> versions_of(ObjectStore& store, const std::string& key) {
  std::vector<std::string> ids;
  if (auto* const versions = store.versions())
    for (auto& each : versions->of(key))
      if (!each.removal) ids.push_back(std::move(each.id));
  return ids;
}

std::string oldest_version(ObjectStore& store, const std::string& key) {
  auto* const kept = store.versions();
  if (kept == nullptr || !kept->are_kept()) return "";
  const auto versions = versions_of(store, key);
  return versions.size() > 1 ? versions.back() : "";
}

HttpStore::HttpStore(std::unique_ptr<const Dialect> dialect, Transport& transport,
                     CredentialSource& credentials, Clock clock, Log& log)
    : dialect_(std::move(dialect)),
      transport_(transport),
      credentials_(credentials),
      clock_(std::move(clock)),
      log_(log) {}

std::string HttpStore::name_of_call(const Call& call) const {
  return call.asked.key.empty() ? name() : name_of(call.asked.key);
}

std::chrono::sys_seconds HttpStore::store_time() const {
  return std::chrono::floor<std::chrono::seconds>(clock_()) + std::chrono::seconds(ahead_.load());
}

Answer HttpStore::send(const Call& call, const Credentials& credentials) {
  auto request = dialect_->signed_request(call.asked, credentials, store_time());
  request.sink = call.sink;
  try {
    auto answer = transport_.perform(request);
    if (dialect_->shows_versions(answer)) keeps_versions_ = true;
    if (dialect_->hides_md5(answer)) hides_md5_ = true;
    return answer;
  } catch (const NoAnswer& failure) {
    auto error = error_of(failure, call.what, name_of_call(call));
    // Until the first object of a page is found, nothing is sent.
    if (failure.why() == NoAnswer::Why::silent && call.operation == Operation::list)
      error.hint(
          "A listing takes long where many objects of a versioned bucket were removed: raise "
          "--store-timeout.");
    throw error;
  }
}

StoreError HttpStore::error(const Answer& answer, const Call& call) const {
  auto failure = error_of(answer, call.what, name_of_call(call));
  // The store's words for a missing right.
  for (const auto* const code : {"AccessDenied", "AuthorizationPermissionMismatch"})
    if (failure.code() == code)
      failure.hint(fmt::format("The credentials do not permit this: it needs {}.",
                               dialect_->right_for(call.operation)));
  return failure;
}

/// Retries after expired credentials, and after a clock difference, by the clock in the answer.
Answer HttpStore::perform(const Call& call) {
  auto credentials = credentials_.get();
  auto answer = send(call, credentials);
  // HEAD has no body with details; a later request finds them.
  if (answer.status != 400 && answer.status != 401 && answer.status != 403) return answer;
  const auto told = error(answer, call);
  // Keys without an expiry time may have been replaced at their source.
  if (told.trouble() == Trouble::expired || told.code() == "InvalidAccessKeyId") {
    credentials_.refused(credentials);
    auto fresh = credentials_.get();
    if (fresh.session_token == credentials.session_token &&
        fresh.access_key == credentials.access_key)
      return answer;
    return send(call, fresh);
  }
  const auto* const date = answer.header("date");
  const auto theirs = date != nullptr ? parse_http_date(*date) : std::nullopt;
  if (!theirs) return answer;
  const auto ahead = *theirs - std::chrono::floor<std::chrono::seconds>(clock_());
  const auto off = ahead - std::chrono::seconds(ahead_.load());
  const bool skewed = told.trouble() == Trouble::clock ||
                      // a HEAD, without further details
                      (call.asked.method == "HEAD" && std::chrono::abs(off) > 5min);
  if (!skewed || std::chrono::abs(off) < 1min) return answer;
  ahead_ = ahead.count();
  log_.warning(
      "this machine's clock differs from the store's by {}: requests are signed with the "
      "store's time",
      format_duration(std::chrono::abs(ahead)));
  return send(call, credentials);
}

HttpStore::Call HttpStore::put_call(const std::string& key, const Content& content) const {
  return {.operation = Operation::put,
          .what = "could not store an object",
          .asked = {.method = "PUT",
                    .key = key,
                    .headers = dialect_->put_headers(content, store_time()),
                    .body = content.bytes,
                    .sha256 = content.sha256}};
}

ObjectStore::Put HttpStore::put_if_absent(const std::string& key, const Content& content) {
  auto call = put_call(key, content);
  call.asked.headers.push_back(dialect_->if_absent());
  const auto answer = perform(call);
  switch (dialect_->put_result(answer)) {
    case Dialect::PutResult::stored:
      require_stored(answer, key, content);
      return Put::stored;
    case Dialect::PutResult::taken:
      return Put::taken;
    case Dialect::PutResult::absent:
    case Dialect::PutResult::failed:
      break;
  }
  auto failure = error(answer, call);
  if (answer.status == 403 && dialect_->rights_may_mean_taken()) {
    try {
      if (head(key)) return Put::taken;
    } catch (const StoreError& unknown) {
      if (may_pass(unknown.trouble()) || unknown.trouble() == Trouble::stopped) throw;
    }
  }
  throw failure;
}

void HttpStore::put(const std::string& key, const Content& content) {
  const auto call = put_call(key, content);
  const auto answer = perform(call);
  if (dialect_->put_result(answer) != Dialect::PutResult::stored) throw error(answer, call);
  require_stored(answer, key, content);
}

ObjectStore::Put HttpStore::put_if_match(const std::string& key, const Content& content,
                                         const std::string& etag) {
  if (knows_no_match_)
    throw StoreError(Trouble::unable, "the store does not support \"If-Match\"")
        .with("object", name_of(key));
  // An ETag has quotes (RFC 9110); Ceph 16 takes them for a part of it here.
  for (const bool bare : {matches_bare_.load(), !matches_bare_}) {
    auto call = put_call(key, content);
    call.asked.headers.push_back(dialect_->if_match(etag, bare));
    const auto answer = perform(call);
    const auto result = dialect_->put_result(answer);
    if (result == Dialect::PutResult::stored) {
      require_stored(answer, key, content);
      matches_bare_ = bare;
      return Put::stored;
    }
    if (result == Dialect::PutResult::absent) break;
    if (result != Dialect::PutResult::taken) {
      auto failure = error(answer, call);
      if (failure.trouble() == Trouble::unable) knows_no_match_ = true;
      throw failure;
    }
    const auto there = head(key);
    if (!there || there->etag != etag) break;
  }
  return Put::taken;
}

/// A store returns the digest of the stored bytes. If it encrypts by a key of its own, the digest
/// differs, and a proxy may drop it: then the store is asked.
void HttpStore::require_stored(const Answer& answer, const std::string& key,
                               const Content& content) {
  if (dialect_->md5_of(answer) == content.md5) return;
  const auto there = head(key);
  if (!there || there->size != content.bytes->size() || there->metadata != content.metadata)
    throw StoreError(Trouble::unreachable, "the store accepted an object but does not have it")
        .with("object", name_of(key));
}

ObjectStore::Traits HttpStore::traits() const {
  return {.etag_is_md5 = dialect_->etag_is_md5(),
          .rights_may_forbid_replacing = dialect_->rights_may_mean_taken(),
          .right_to_remove = dialect_->right_for(Operation::remove)};
}

std::optional<ObjectHead> HttpStore::head(const std::string& key, const std::string& version) {
  Call call{.operation = Operation::read,
            .what = "could not read an object's metadata",
            .asked = {.method = "HEAD", .key = key}};
  if (!version.empty()) call.asked.query[dialect_->version_parameter()] = version;
  auto answer = perform(call);
  if (dialect_->head_tells_errors()) {
    if (dialect_->is_absent(answer)) return std::nullopt;
  } else if (answer.status == 404 || answer.status == 400 || answer.status == 403) {
    // An answer to HEAD has no body, so this may also mean the bucket. A GET distinguishes them.
    if (!get(key, version, Range{0, 1}, [](auto) { return true; })) return std::nullopt;
    answer = perform(call);  // created meanwhile
  }
  if (answer.status != 200) throw error(answer, call);
  auto head = dialect_->head_of(answer, store_time());
  const auto* const size = answer.header("content-length");
  const auto number = size != nullptr ? parse_number<std::uint64_t>(*size) : std::nullopt;
  if (!number)
    throw StoreError(Trouble::unreachable, "the store did not return the size of an object")
        .with("object", name_of(key));
  head.size = *number;
  return head;
}

bool HttpStore::get(const std::string& key, const std::string& version,
                    const std::optional<Range>& range, const codec::Sink& sink) {
  Call call{.operation = Operation::read,
            .what = "could not read an object",
            .asked = {.method = "GET", .key = key}};
  if (!version.empty()) call.asked.query[dialect_->version_parameter()] = version;
  if (range)
    call.asked.headers.push_back(
        {"Range", fmt::format("bytes={}-{}", range->first, range->first + range->size - 1)});
  bool enough = false;
  call.sink = [&](std::span<const std::byte> piece) {
    if (sink(piece)) return true;
    enough = true;
    return false;
  };
  try {
    const auto answer = perform(call);
    if (answer.status == 200 || answer.status == 206) {
      // libcurl notices a body that breaks off, unless it ends with the connection.
      const auto* const coding = answer.header("transfer-encoding");
      const bool chunked = coding != nullptr && coding->find("chunked") != std::string::npos;
      if (!chunked && answer.header("content-length") == nullptr)
        throw StoreError(Trouble::unreachable, "the store did not return the size of an object")
            .with("object", name_of(key));
      if (range && answer.status == 200 && range->first > 0)
        throw StoreError(Trouble::unable, "the store does not support range requests")
            .with("object", name_of(key));
      return true;
    }
    // No bytes from this offset on: an empty object, or the range starts at its end.
    if (answer.status == 416 && range) return true;
    if (dialect_->is_absent(answer)) return false;
    throw error(answer, call);
  } catch (const StoreError& failure) {
    if (failure.trouble() == Trouble::stopped && enough) return true;
    throw;
  }
}

Dialect::Page HttpStore::list_page(const std::string& prefix, const std::string& after,
                                   std::size_t most, const std::string& marker) {
  const Call call{
      .operation = Operation::list,
      .what = "could not list objects",
      .asked = {.method = "GET", .query = dialect_->listing(prefix, after, most, marker)}};
  const auto answer = perform(call);
  auto page = answer.status == 200 ? dialect_->parse_page(answer.body) : std::nullopt;
  if (!page) throw error(answer, call);
  if (hides_md5_)
    for (auto& each : page->page.objects) each.md5.clear();
  return std::move(*page);
}

ObjectPage HttpStore::list(const std::string& prefix, const std::string& after, std::size_t most) {
  std::string marker;
  {
    const std::lock_guard lock(markers_mutex_);
    if (auto known = markers_.extract({prefix, after})) marker = std::move(known.mapped());
  }
  for (;;) {
    auto [page, next] = list_page(prefix, after, most, marker);
    // A store may start with the key itself, or ignore where to start.
    std::erase_if(page.objects, [&](const ObjectEntry& each) { return each.key <= after; });
    if (next.empty()) {
      // Otherwise a listing would end too early, or never.
      if (leads_on(page, after)) return std::move(page);
      throw StoreError(Trouble::unreachable, "the store announces more objects, but lists none")
          .with("objects", name_of(prefix))
          .with("behind", after);
    }
    page.more = true;
    if (!page.objects.empty()) {
      const std::lock_guard lock(markers_mutex_);
      if (markers_.size() >= kMarkers) markers_.clear();
      markers_[{prefix, page.objects.back().key}] = next;
      return std::move(page);
    }
    if (next == marker)
      throw StoreError(Trouble::unreachable, "the store announces more objects, but lists none")
          .with("objects", name_of(prefix))
          .with("behind", after);
    marker = std::move(next);
  }
}

std::vector<Versions::Version> HttpStore::of(const std::string& key) {
  Call call{.operation = Operation::list,
            .what = "could not list an object's versions",
            .asked = {.method = "GET", .query = dialect_->versions_listing(key)}};
  std::vector<std::string> pages;
  Query last;
  auto answer = perform(call);
  while (answer.status == 200) {
    pages.push_back(answer.body);
    auto next = dialect_->next_versions(answer.body, key);
    if (next.empty()) {
      if (auto versions = dialect_->parse_versions_of(pages, key)) return std::move(*versions);
      // A store without versions may return an ordinary listing.
      if (dialect_->parse_page(answer.body)) return {};
      break;
    }
    if (next == last)
      throw StoreError(Trouble::unreachable, "the store announces more versions, but lists none")
          .with("object", name_of(key));
    for (const auto& [name, value] : next) call.asked.query[name] = value;
    last = std::move(next);
    answer = perform(call);
  }
  auto failure = error(answer, call);
  if (failure.trouble() == Trouble::unable) return {};
  throw failure;
}

std::optional<std::string> HttpStore::rule(const std::string& which) {
  const Call call{.operation = Operation::settings,
                  .what = "could not read the bucket's settings",
                  .asked = {.method = "GET", .query = {{which, ""}}}};
  const auto answer = perform(call);
  if (answer.status == 200 && !parse_error(answer.body)) return answer.body;
  auto failure = error(answer, call);
  // Any other 404 may be a proxy's, which says nothing of the bucket.
  const auto& code = failure.code();
  const bool not_set = code == "NoSuchLifecycleConfiguration" ||
                       code == "ObjectLockConfigurationNotFoundError" ||
                       code == "NoSuchObjectLockConfiguration";
  if (failure.trouble() == Trouble::unable || (answer.status == 404 && not_set))
    return std::nullopt;
  throw failure;
}

/// Not every store can remove many objects by one request: then it is asked no more.
std::optional<std::vector<Kept>> HttpStore::try_remove_by(const std::string& request,
                                                          std::span<const std::string> keys) {
  if (!dialect_->removes_many() || removes_singly_) return std::nullopt;
  try {
    return remove_by(request, keys);
  } catch (const StoreError& failure) {
    if (failure.trouble() != Trouble::unable && failure.code() != "MalformedXML") throw;
    removes_singly_ = true;
    return std::nullopt;
  }
}

std::vector<Kept> HttpStore::remove(std::span<const std::string> keys) {
  if (auto kept = try_remove_by(removal_request(keys), keys)) return std::move(*kept);
  // Objects that a batch has not removed are removed one by one: those answers have the reason.
  const auto left = remove_in_batches(keys);
  std::vector<std::optional<std::string>> why(left.size());
  std::mutex mutex;
  std::optional<StoreError> passing;  // guarded by mutex
  for_each_index(left.size(), kRemovals, [&](std::size_t i) {
    try {
      why[i] = remove_one(left[i], "");
    } catch (const StoreError& failure) {
      // With a code, it is an answer to this request alone.
      if (failure.trouble() != Trouble::unreachable || failure.code().empty()) throw;
      why[i] = failure.code();
      const std::lock_guard lock(mutex);
      if (!passing) passing = failure;
    }
    return true;
  });
  std::vector<Kept> kept;
  for (std::size_t i = 0; i < left.size(); ++i)
    if (why[i]) kept.push_back({left[i], std::move(*why[i])});
  if (passing) throw std::move(*passing).with_left(std::move(kept));
  return kept;
}

/// Returns the keys that may still be there.
std::vector<std::string> HttpStore::remove_in_batches(std::span<const std::string> keys) {
  std::vector<std::string> left;
  const auto size = dialect_->batch_size();
  while (size > 0 && !removes_singly_ && keys.size() > 1) {
    const auto some = keys.first(std::min(size, keys.size()));
    keys = keys.subspan(some.size());
    auto batch = dialect_->removal_batch(some, credentials_.get(), store_time());
    MemoryBytes content(std::as_bytes(std::span(batch.body)));
    Call call{.operation = Operation::remove,
              .what = "could not remove objects",
              .asked = std::move(batch.asked)};
    call.asked.body = &content;
    const auto answer = perform(call);
    const auto removed = dialect_->removed_by_batch(answer, some.size());
    if (removed.empty()) {
      auto failure = error(answer, call);
      if (answer.status != 202 && may_pass(failure.trouble())) throw failure;
      removes_singly_ = true;  // not supported, or not permitted
    }
    for (std::size_t i = 0; i < some.size(); ++i)
      if (removed.empty() || !removed[i]) left.push_back(some[i]);
  }
  left.insert(left.end(), keys.begin(), keys.end());
  return left;
}

std::vector<Kept> HttpStore::remove(const std::string& key, std::span<const std::string> versions) {
  if (auto kept = try_remove_by(removal_request(key, versions), std::span(&key, 1)))
    return std::move(*kept);
  for (const auto& version : versions) {
    auto why = remove_one(key, version);
    // Azure: the newest version goes after the object itself has become a former one.
    if (why && why->starts_with("OperationNotAllowedOnRootBlob")) {
      why = remove_one(key, "");
      if (!why) why = remove_one(key, version);
    }
    if (why) return {{key, std::move(*why)}};
  }
  return {};
}

std::optional<std::string> HttpStore::remove_one(const std::string& key,
                                                 const std::string& version) {
  Call call{.operation = Operation::remove,
            .what = "could not remove an object",
            .asked = {.method = "DELETE", .key = key}};
  if (!version.empty()) call.asked.query[dialect_->version_parameter()] = version;
  const auto answer = perform(call);
  if ((answer.status >= 200 && answer.status < 300) || dialect_->is_absent(answer))
    return std::nullopt;
  auto failure = error(answer, call);
  // A right is missing, or a lock or a lease keeps it.
  const bool kept = answer.status == 403 || answer.status == 409 || answer.status == 412;
  if (!kept || failure.trouble() != Trouble::refused || failure.code() == "AuthenticationFailed" ||
      failure.code() == "SignatureDoesNotMatch" || failure.code() == "InvalidAccessKeyId")
    throw failure;
  return failure.code().empty() ? fmt::format("status {}", answer.status) : failure.code();
}

std::vector<Kept> HttpStore::remove_by(const std::string& body, std::span<const std::string> keys) {
  const auto bytes = std::as_bytes(std::span(body));
  MemoryBytes content(bytes);
  crypto::Digest md5(crypto::Digest::Kind::md5);
  crypto::Digest sha256(crypto::Digest::Kind::sha256);
  md5.add(bytes);
  sha256.add(bytes);
  const Call call{.operation = Operation::remove,
                  .what = "could not remove objects",
                  .asked = {.method = "POST",
                            .query = {{"delete", ""}},
                            .headers = {{"Content-Type", "application/xml"},
                                        {"Content-MD5", to_base64(md5.finish())}},
                            .body = &content,
                            .sha256 = crypto::to_hex(sha256.finish())}};
  const auto answer = perform(call);
  if (auto removal = answer.status == 200 ? parse_removal(answer.body) : std::nullopt) {
    if (const auto& passing = removal->passing)
      throw StoreError(Trouble::unreachable,
                       fmt::format("{}: the store answered {}", call.what, passing->why))
          .with("object", name_of(passing->key))
          .with_left(std::move(removal->kept));
    return std::move(removal->kept);
  }
  // AWS answers for each object; Ceph rejects the request as a whole.
  const auto told = parse_error(answer.body);
  if (answer.status == 403 && told && told->code == "AccessDenied") {
    std::vector<Kept> kept;
    for (const auto& key : keys) kept.push_back({key, "AccessDenied"});
    return kept;
  }
  throw error(answer, call);
}

}  // namespace weir::store
