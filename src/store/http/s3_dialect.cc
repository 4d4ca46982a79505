#include "store/http/s3_dialect.h"

#include <fmt/format.h>

#include <utility>

#include "base/text.h"
#include "base/units.h"
#include "store/http/answers.h"
#include "store/http/signature.h"

namespace weir::store {

namespace {

constexpr const char* kSha256OfNothing =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kGoogleEndpoint = "storage.googleapis.com";

}  // namespace

S3Dialect::S3Dialect(BucketSettings settings, StoreKind kind, Provider provider)
    : settings_(std::move(settings)), kind_(kind), google_(provider == Provider::google) {
  const bool named = !settings_.endpoint.host.empty();
  const bool dots = settings_.bucket.find('.') != std::string::npos;  // no certificate matches then
  host_style_ = settings_.style == Style::host ||
                (settings_.style == Style::automatic && !google_ && !named && !dots);
  const auto host = named     ? settings_.endpoint.host
                    : google_ ? kGoogleEndpoint
                              : fmt::format("s3.{}.amazonaws.com", settings_.region);
  host_ = host_style_ ? fmt::format("{}.{}", settings_.bucket, host) : host;
}

std::string S3Dialect::name() const {
  return fmt::format("{}://{}", to_string(kind_), settings_.bucket);
}

std::string S3Dialect::right_for(Operation operation) const {
  switch (operation) {
    case Operation::put:
      return google_ ? "storage.objects.create (and storage.objects.delete to replace an object)"
                     : "s3:PutObject";
    case Operation::read:
      return google_ ? "storage.objects.get" : "s3:GetObject";
    case Operation::list:
      return google_ ? "storage.objects.list" : "s3:ListBucket (and s3:ListBucketVersions)";
    case Operation::remove:
      return google_ ? "storage.objects.delete" : "s3:DeleteObject";
    case Operation::settings:
      break;
  }
  return google_ ? "storage.buckets.get"
                 : "s3:GetLifecycleConfiguration, s3:GetBucketVersioning and "
                   "s3:GetBucketObjectLockConfiguration";
}

std::string S3Dialect::header(std::string_view name) const {
  return fmt::format("x-{}-{}", google_ ? "goog" : "amz", name);
}

Request S3Dialect::signed_request(const Asked& asked, const Credentials& credentials,
                                  Time now) const {
  const auto path =
      settings_.endpoint.path +
      percent_encoded((host_style_ ? "/" : "/" + settings_.bucket) +
                          (asked.key.empty() ? "" : (host_style_ ? "" : "/") + asked.key),
                      Slashes::stay);
  Request request{.method = asked.method, .body = asked.body};
  request.url = fmt::format("{}://{}{}{}{}", settings_.endpoint.scheme, host_, path,
                            asked.query.empty() ? "" : "?", to_text(asked.query));
  if (credentials.kind == Credentials::Kind::token) {
    request.headers = asked.headers;
    request.headers.push_back({"Authorization", "Bearer " + credentials.session_token.reveal()});
    return request;
  }
  request.headers =
      signed_headers({.method = asked.method,
                      .host = host_,
                      .path = path,
                      .query = asked.query,
                      .headers = asked.headers,
                      .body_sha256 = asked.body != nullptr ? asked.sha256 : kSha256OfNothing,
                      .region = google_ ? "auto" : settings_.region,
                      .service = google_ ? "storage" : "s3",
                      .time = now,
                      .form = google_ ? Signing::Form::google : Signing::Form::aws},
                     credentials);
  return request;
}

Dialect::Headers S3Dialect::put_headers(const Content& content, Time now) const {
  Headers headers = {{"Content-Type", "application/octet-stream"},
                     {"Content-MD5", base64_of_hex(content.md5)}};
  for (const auto& [name, value] : content.metadata)
    headers.push_back({header("meta-") + name, value});
  if (!settings_.storage_class.empty())
    headers.push_back({header("storage-class"), settings_.storage_class});
  if (content.locked && settings_.lock) {
    headers.push_back(
        {header("object-lock-mode"), settings_.lock->compliance ? "COMPLIANCE" : "GOVERNANCE"});
    headers.push_back(
        {header("object-lock-retain-until-date"),
         format_iso_time(std::chrono::system_clock::time_point(now) + settings_.lock->time)});
  }
  if (!settings_.encryption.empty()) {
    constexpr std::string_view kKms = "aws:kms:";
    const bool key_named = settings_.encryption.starts_with(kKms);
    headers.push_back(
        {"x-amz-server-side-encryption", key_named ? "aws:kms" : settings_.encryption});
    if (key_named)
      headers.push_back({"x-amz-server-side-encryption-aws-kms-key-id",
                         settings_.encryption.substr(kKms.size())});
  }
  return headers;
}

Request::Header S3Dialect::if_absent() const {
  if (google_) return {"x-goog-if-generation-match", "0"};
  return {"If-None-Match", "*"};
}

Request::Header S3Dialect::if_match(const std::string& etag, bool bare) const {
  if (google_) return {"x-goog-if-generation-match", etag};
  return {"If-Match", bare ? etag : "\"" + etag + "\""};
}

Dialect::PutResult S3Dialect::put_result(const Answer& answer) const {
  // The status may precede an error: then the body is an error document.
  if (answer.status == 200 && !parse_error(answer.body)) return PutResult::stored;
  if (answer.status == 412) return PutResult::taken;
  if (is_absent(answer)) return PutResult::absent;
  return PutResult::failed;
}

bool S3Dialect::is_absent(const Answer& answer) const {
  return answer.status == 404 && code_of(answer) == "NoSuchKey";
}

ObjectHead S3Dialect::head_of(const Answer& answer, Time now) const {
  ObjectHead head;
  head.etag = etag_of(answer);
  head.md5 = md5_of(answer);
  const auto* const generation = answer.header("x-goog-generation");
  if (google_) head.etag = generation != nullptr ? *generation : std::string();
  // RFC 3339: sorts as text.
  const auto* const until = answer.header(header("object-lock-retain-until-date"));
  const auto* const hold = answer.header(header("object-lock-legal-hold"));
  head.locked =
      (until != nullptr && *until > format_iso_time(now)) || (hold != nullptr && *hold == "ON");
  const auto meta = header("meta-");
  for (const auto& [name, value] : answer.headers)
    if (name.starts_with(meta)) head.metadata[name.substr(meta.size())] = value;
  return head;
}

/// With SSE-KMS an ETag has the form of an MD5, and is another number ("Object", Amazon S3 API
/// Reference).
bool S3Dialect::hides_md5(const Answer& answer) const {
  const auto* const encryption = answer.header("x-amz-server-side-encryption");
  return encryption != nullptr && encryption->starts_with("aws:kms");
}

std::string S3Dialect::md5_of(const Answer& answer) const {
  if (hides_md5(answer)) return "";
  auto md5 = md5_of_etag(etag_of(answer));
  // "crc32c=…,md5=…" (Google, "x-goog-hash")
  const auto* const hashes = answer.header("x-goog-hash");
  if (!google_ || !md5.empty() || hashes == nullptr) return md5;
  const auto start = hashes->find("md5=");
  if (start == std::string::npos) return "";
  const auto end = hashes->find(',', start);
  return hex_of_base64(trimmed(std::string_view(*hashes).substr(start + 4, end - start - 4)));
}

Query S3Dialect::listing(const std::string& prefix, const std::string& after, std::size_t most,
                         const std::string& marker) const {
  Query query = {{"list-type", "2"}, {"max-keys", std::to_string(most)}, {"prefix", prefix}};
  if (!marker.empty())
    query["continuation-token"] = marker;
  else if (!after.empty())
    query["start-after"] = after;
  return query;
}

std::optional<Dialect::Page> S3Dialect::parse_page(std::string_view body) const {
  auto listed = parse_listing(body);
  if (!listed) return std::nullopt;
  Page page{std::move(*listed)};
  // There is no key to continue after: the store has passed removed objects of a versioned bucket.
  if (page.page.more && page.page.objects.empty()) page.marker = continuation_of(body);
  return page;
}

bool S3Dialect::shows_versions(const Answer& answer) const {
  const auto* const version = answer.header("x-amz-version-id");
  return version != nullptr && !version->empty() && *version != "null";
}

Query S3Dialect::versions_listing(const std::string& key) const {
  return {{"prefix", key}, {"versions", ""}, {"max-keys", "1000"}};
}

Query S3Dialect::next_versions(std::string_view body, std::string_view key) const {
  auto marker = next_version_marker(body, key);
  if (marker.empty()) return {};
  return {{"key-marker", std::string(key)}, {"version-id-marker", std::move(marker)}};
}

std::optional<std::vector<Versions::Version>> S3Dialect::parse_versions_of(
    std::span<const std::string> pages, std::string_view key) const {
  std::vector<Versions::Version> all;
  for (const auto& page : pages) {
    const auto versions = parse_versions(page, key);
    if (!versions) return std::nullopt;
    all.insert(all.end(), versions->begin(), versions->end());
  }
  return all;
}

}  // namespace weir::store
