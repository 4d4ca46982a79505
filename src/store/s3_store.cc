#include "store/s3_store.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "base/text.h"
#include "base/units.h"
#include "crypto/digest.h"
#include "store/answers.h"
#include "store/memory_bytes.h"
#include "store/signature.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

constexpr const char* kEmptySha256 =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// "Sun, 22 Nov 2026 00:00:00 GMT" (RFC 9110, 5.6.7)
std::optional<std::chrono::sys_seconds> parse_date(const std::string& text) {
  struct tm broken {};
  const char* const rest = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &broken);
  if (rest == nullptr || *rest != '\0') return std::nullopt;
  return std::chrono::sys_seconds(std::chrono::seconds(::timegm(&broken)));
}

/// Converts hexadecimal digits to the form of Content-MD5.
std::string base64_of_hex(const std::string& hex) {
  std::vector<std::byte> bytes;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(digit(hex[i]) * 16 + digit(hex[i + 1])));
  return to_base64(bytes);
}

}  // namespace

std::optional<std::string> get_text(ObjectStore& store, const std::string& key,
                                    std::uint64_t most) {
  std::string text;
  const bool there = store.get(key, std::nullopt, [&](std::span<const std::byte> piece) {
    text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    if (text.size() > most)
      throw Error(ErrorKind::damage, "an object in the store is larger than any of its kind")
          .with("object", store.name_of(key));
    return true;
  });
  return there ? std::optional(std::move(text)) : std::nullopt;
}

std::string oldest_version(ObjectStore& store, const std::string& key) {
  if (!store.keeps_versions()) return "";
  const auto versions = store.versions(key);
  return versions.size() > 1 ? versions.back() : "";
}

S3Store::S3Store(Settings settings, Transport& transport, CredentialSource& credentials,
                 Clock clock, Log& log)
    : settings_(std::move(settings)),
      transport_(transport),
      credentials_(credentials),
      clock_(std::move(clock)),
      log_(log) {
  const bool named = !settings_.endpoint.host.empty();
  const bool dots = settings_.bucket.find('.') != std::string::npos;  // no certificate matches then
  host_style_ =
      settings_.style == Style::host || (settings_.style == Style::automatic && !named && !dots);
  const auto host =
      named ? settings_.endpoint.host : fmt::format("s3.{}.amazonaws.com", settings_.region);
  host_ = host_style_ ? fmt::format("{}.{}", settings_.bucket, host) : host;
}

std::string S3Store::name_of_call(const Call& call) const {
  return call.key.empty() ? name() : name_of(call.key);
}

Answer S3Store::send(const Call& call, const Credentials& credentials) {
  const auto path =
      percent_encoded((host_style_ ? "/" : "/" + settings_.bucket) +
                          (call.key.empty() ? "" : (host_style_ ? "" : "/") + call.key),
                      Slashes::stay);
  const auto now =
      std::chrono::floor<std::chrono::seconds>(clock_()) + std::chrono::seconds(ahead_.load());
  Request request{.method = call.method, .body = call.body, .sink = call.sink};
  request.headers =
      signed_headers({.method = call.method,
                      .host = host_,
                      .path = path,
                      .query = call.query,
                      .headers = call.headers,
                      .body_sha256 = call.body != nullptr ? call.sha256 : kEmptySha256,
                      .region = settings_.region,
                      .time = now},
                     credentials);
  request.url = fmt::format("{}://{}{}{}{}", settings_.endpoint.scheme, host_, path,
                            call.query.empty() ? "" : "?", to_text(call.query));
  try {
    auto answer = transport_.perform(request);
    const auto* const version = answer.header("x-amz-version-id");
    if (version != nullptr && !version->empty() && *version != "null") keeps_versions_ = true;
    return answer;
  } catch (const NoAnswer& failure) {
    throw error_of(failure, call.what, name_of_call(call));
  }
}

StoreError S3Store::error(const Answer& answer, const Call& call) const {
  return error_of(answer, call.what, name_of_call(call));
}

/// Retries after expired credentials, and after a clock difference, by the clock in the answer.
Answer S3Store::perform(const Call& call) {
  auto credentials = credentials_.get();
  auto answer = send(call, credentials);
  // HEAD has no body with details; a later request finds them.
  if (answer.status != 400 && answer.status != 403) return answer;
  const auto told = error(answer, call);
  if (told.trouble() == Trouble::expired) {
    credentials_.refused(credentials);
    auto fresh = credentials_.get();
    if (fresh.session_token == credentials.session_token &&
        fresh.access_key == credentials.access_key)
      return answer;
    return send(call, fresh);
  }
  const auto* const date = answer.header("date");
  const auto theirs = date != nullptr ? parse_date(*date) : std::nullopt;
  if (!theirs) return answer;
  const auto ahead = *theirs - std::chrono::floor<std::chrono::seconds>(clock_());
  const auto off = ahead - std::chrono::seconds(ahead_.load());
  const bool skewed = told.trouble() == Trouble::clock ||
                      // a HEAD, without further details
                      (call.method == "HEAD" && std::chrono::abs(off) > 5min);
  if (!skewed || std::chrono::abs(off) < 1min) return answer;
  ahead_ = ahead.count();
  log_.warning(
      "this machine's clock differs from the store's by {}: requests are signed with the "
      "store's time",
      format_duration(std::chrono::abs(ahead)));
  return send(call, credentials);
}

S3Store::Call S3Store::put_call(const std::string& key, const Content& content) const {
  Call call{.method = "PUT", .what = "could not store an object", .key = key};
  call.body = content.bytes;
  call.sha256 = content.sha256;
  call.headers = {{"Content-Type", "application/octet-stream"},
                  {"Content-MD5", base64_of_hex(content.md5)}};
  for (const auto& [name, value] : content.metadata)
    call.headers.push_back({"x-amz-meta-" + name, value});
  if (!settings_.storage_class.empty())
    call.headers.push_back({"x-amz-storage-class", settings_.storage_class});
  if (content.locked && settings_.lock) {
    const auto until = clock_() + std::chrono::seconds(ahead_) + settings_.lock->time;
    call.headers.push_back(
        {"x-amz-object-lock-mode", settings_.lock->compliance ? "COMPLIANCE" : "GOVERNANCE"});
    call.headers.push_back({"x-amz-object-lock-retain-until-date", format_iso_time(until)});
  }
  if (!settings_.encryption.empty()) {
    constexpr std::string_view kKms = "aws:kms:";
    const bool key_named = settings_.encryption.starts_with(kKms);
    call.headers.push_back(
        {"x-amz-server-side-encryption", key_named ? "aws:kms" : settings_.encryption});
    if (key_named)
      call.headers.push_back({"x-amz-server-side-encryption-aws-kms-key-id",
                              settings_.encryption.substr(kKms.size())});
  }
  return call;
}

ObjectStore::Put S3Store::put_if_absent(const std::string& key, const Content& content) {
  auto call = put_call(key, content);
  call.headers.push_back({"If-None-Match", "*"});
  const auto answer = perform(call);
  // The status may precede an error: then the body is an error document.
  if (answer.status == 200 && !parse_error(answer.body)) {
    require_stored(answer, key, content);
    return Put::stored;
  }
  if (answer.status == 412) return Put::taken;
  throw error(answer, call);
}

void S3Store::put(const std::string& key, const Content& content) {
  const auto call = put_call(key, content);
  const auto answer = perform(call);
  if (answer.status != 200 || parse_error(answer.body)) throw error(answer, call);
  require_stored(answer, key, content);
}

ObjectStore::Put S3Store::put_if_match(const std::string& key, const Content& content,
                                       const std::string& etag) {
  if (knows_no_match_) return ObjectStore::put_if_match(key, content, etag);
  // An ETag has quotes (RFC 9110); Ceph 16 takes them for a part of it here.
  for (const bool quotes : {!matches_bare_, matches_bare_.load()}) {
    auto call = put_call(key, content);
    call.headers.push_back({"If-Match", quotes ? "\"" + etag + "\"" : etag});
    const auto answer = perform(call);
    if (answer.status == 200 && !parse_error(answer.body)) {
      require_stored(answer, key, content);
      matches_bare_ = !quotes;
      return Put::stored;
    }
    // "404 NoSuchKey": there is no object to match (AWS).
    if (answer.status == 404 && error(answer, call).code() == "NoSuchKey") break;
    if (answer.status != 412) {
      auto failure = error(answer, call);
      if (failure.trouble() != Trouble::unable) throw failure;
      knows_no_match_ = true;
      return ObjectStore::put_if_match(key, content, etag);  // a store without conditions
    }
    const auto there = head(key);
    if (!there || there->etag != etag) break;
  }
  return Put::taken;
}

/// A store returns the digest of the stored bytes. If it encrypts by a key of its own, the digest
/// differs, and a proxy may drop it: then the store is asked.
void S3Store::require_stored(const Answer& answer, const std::string& key, const Content& content) {
  if (etag_of(answer) == content.md5) return;
  const auto there = head(key);
  if (!there || there->size != content.bytes->size() || there->metadata != content.metadata)
    throw StoreError(Trouble::unreachable,
                     "the store said that it has an object, and does not have it")
        .with("object", name_of(key));
}

std::optional<ObjectHead> S3Store::head(const std::string& key) { return head_version(key, ""); }

std::optional<ObjectHead> S3Store::head_version(const std::string& key,
                                                const std::string& version) {
  Call call{.method = "HEAD", .what = "could not look at an object", .key = key};
  if (!version.empty()) call.query["versionId"] = version;
  auto answer = perform(call);
  // An answer to HEAD has no body, so this may also mean the bucket. A GET distinguishes them.
  if (answer.status == 404 || answer.status == 400 || answer.status == 403) {
    if (!get_version(key, version, Range{0, 1}, [](auto) { return true; })) return std::nullopt;
    answer = perform(call);  // created meanwhile
  }
  if (answer.status != 200) throw error(answer, call);
  ObjectHead head;
  const auto* const size = answer.header("content-length");
  const auto number = size != nullptr ? parse_number<std::uint64_t>(*size) : std::nullopt;
  if (!number)
    throw StoreError(Trouble::unreachable, "the store does not tell the size of an object")
        .with("object", name_of(key));
  head.size = *number;
  head.etag = etag_of(answer);
  // RFC 3339: sorts as text.
  const auto* const until = answer.header("x-amz-object-lock-retain-until-date");
  const auto* const hold = answer.header("x-amz-object-lock-legal-hold");
  head.locked =
      (until != nullptr && *until > format_iso_time(clock_() + std::chrono::seconds(ahead_))) ||
      (hold != nullptr && *hold == "ON");
  constexpr std::string_view kMeta = "x-amz-meta-";
  for (const auto& [name, value] : answer.headers)
    if (name.starts_with(kMeta)) head.metadata[name.substr(kMeta.size())] = value;
  return head;
}

bool S3Store::get_version(const std::string& key, const std::string& version,
                          const std::optional<Range>& range, const codec::Sink& sink) {
  Call call{.method = "GET", .what = "could not read an object", .key = key};
  if (!version.empty()) call.query["versionId"] = version;
  if (range)
    call.headers.push_back(
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
      // libcurl compares the body with Content-Length, which every store sends.
      if (range && answer.status == 200 && range->first > 0)
        throw StoreError(Trouble::unable, "the store gives no parts of objects")
            .with("object", name_of(key));
      return true;
    }
    // No bytes from this offset on: an empty object, or the range starts at its end.
    if (answer.status == 416 && range) return true;
    const auto told = parse_error(answer.body);
    if (answer.status == 404 && told && told->code == "NoSuchKey") return false;
    throw error(answer, call);
  } catch (const StoreError& failure) {
    if (failure.trouble() == Trouble::stopped && enough) return true;
    throw;
  }
}

ObjectPage S3Store::list(const std::string& prefix, const std::string& after, std::size_t most) {
  Call call{.method = "GET", .what = "could not list objects"};
  call.query = {{"list-type", "2"}, {"max-keys", std::to_string(most)}, {"prefix", prefix}};
  if (!after.empty()) call.query["start-after"] = after;
  const auto answer = perform(call);
  if (answer.status == 200)
    if (auto page = parse_listing(answer.body)) {
      // Otherwise a listing would end too early, or never.
      if (leads_on(*page, after)) return std::move(*page);
      throw StoreError(Trouble::unreachable, "the store says that it has more, and gives nothing")
          .with("objects", name_of(prefix))
          .with("behind", after);
    }
  throw error(answer, call);
}

std::vector<std::string> S3Store::versions(const std::string& key) {
  std::vector<std::string> ids;
  for (auto& each : versions_and_removals(key))
    if (!each.removal) ids.push_back(std::move(each.id));
  return ids;
}

std::vector<ObjectStore::Version> S3Store::versions_and_removals(const std::string& key) {
  Call call{.method = "GET", .what = "could not list an object's versions"};
  call.query = {{"prefix", key}, {"versions", ""}, {"max-keys", "1000"}};
  const auto answer = perform(call);
  if (answer.status == 200) {
    if (auto versions = parse_versions(answer.body, key)) return std::move(*versions);
    // A store without versions may return an ordinary listing.
    if (parse_listing(answer.body)) return {};
  }
  auto failure = error(answer, call);
  if (failure.trouble() == Trouble::unable) return {};
  throw failure;
}

std::optional<std::string> S3Store::setting(const std::string& which) {
  Call call{.method = "GET", .what = "could not read the bucket's settings"};
  call.query = {{which, ""}};
  const auto answer = perform(call);
  if (answer.status == 200 && !parse_error(answer.body)) return answer.body;
  auto failure = error(answer, call);
  // "NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError"
  if (failure.trouble() == Trouble::unable ||
      (answer.status == 404 && failure.code() != "NoSuchBucket"))
    return std::nullopt;
  throw failure;
}

std::vector<ObjectStore::Kept> S3Store::remove(std::span<const std::string> keys) {
  return remove_by(removal_request(keys), keys);
}

std::vector<ObjectStore::Kept> S3Store::remove_versions(const std::string& key,
                                                        std::span<const std::string> versions) {
  return remove_by(removal_request(key, versions), std::span(&key, 1));
}

std::vector<ObjectStore::Kept> S3Store::remove_by(const std::string& body,
                                                  std::span<const std::string> keys) {
  const auto bytes = std::as_bytes(std::span(body));
  MemoryBytes content(bytes);
  crypto::Digest md5(crypto::Digest::Kind::md5);
  crypto::Digest sha256(crypto::Digest::Kind::sha256);
  md5.add(bytes);
  sha256.add(bytes);
  Call call{.method = "POST", .what = "could not remove objects"};
  call.query = {{"delete", ""}};
  call.headers = {{"Content-Type", "application/xml"}, {"Content-MD5", to_base64(md5.finish())}};
  call.body = &content;
  call.sha256 = crypto::to_hex(sha256.finish());
  const auto answer = perform(call);
  if (answer.status == 200)
    if (auto kept = parse_removal(answer.body)) return std::move(*kept);
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
