#include "store/http/answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <pugixml.hpp>

#include "base/text.h"
#include "store/http/credential_texts.h"

namespace weir::store {

namespace {

/// The document's root, if it has this name; some stores write a namespace before it.
std::optional<pugi::xml_node> root_of(pugi::xml_document& document, std::string_view body,
                                      std::string_view name) {
  if (!document.load_buffer(body.data(), body.size())) return std::nullopt;
  const auto root = document.document_element();
  if (!root || std::string_view(root.name()) != name) return std::nullopt;
  return root;
}

struct Meaning {
  std::string_view code;
  Trouble trouble;
  std::string_view hint;
};
constexpr std::string_view kSecretHint =
    "The secret key does not match this access key. Check both, and the region.";
constexpr std::string_view kClockHint =
    "The clocks of this machine and of the store differ. Check the time synchronization of both.";
constexpr std::string_view kRegionHint = "Name the bucket's region with --store-region.";
constexpr std::string_view kExpiredHint =
    "The temporary credentials have expired, and new ones could not be obtained.";
constexpr std::string_view kLockHint =
    "A policy of the container or a legal hold prevents changes to the object.";
/// By the store's error code: HTTP's status is ambiguous.
constexpr auto kMeanings = std::to_array<Meaning>({
    {"SlowDown", Trouble::throttled, {}},
    {"ServiceUnavailable", Trouble::throttled, {}},
    {"RequestLimitExceeded", Trouble::throttled, {}},
    {"TooManyRequests", Trouble::throttled, {}},
    {"ThrottlingException", Trouble::throttled, {}},
    {"InternalError", Trouble::unreachable, {}},
    {"RequestTimeout", Trouble::unreachable, {}},
    {"OperationAborted", Trouble::unreachable, {}},
    {"ConditionalRequestConflict", Trouble::unreachable, {}},
    {"BadDigest", Trouble::unreachable, {}},  // the received bytes differ from those sent
    {"XAmzContentSHA256Mismatch", Trouble::unreachable, {}},
    {"IncompleteBody", Trouble::unreachable, {}},
    {"RequestTimeTooSkewed", Trouble::clock, kClockHint},
    {"RequestExpired", Trouble::clock, kClockHint},
    {"ExpiredToken", Trouble::expired, kExpiredHint},
    {"TokenRefreshRequired", Trouble::expired, kExpiredHint},
    {"InvalidToken", Trouble::expired,
     "The session token does not belong to this access key, or was not issued by this store."},
    {"PermanentRedirect", Trouble::region, kRegionHint},
    {"TemporaryRedirect", Trouble::region, kRegionHint},
    {"AuthorizationHeaderMalformed", Trouble::region, kRegionHint},
    {"IllegalLocationConstraintException", Trouble::region, kRegionHint},
    {"NotImplemented", Trouble::unable, {}},
    {"NoSuchBucket", Trouble::refused,
     "Create the bucket first (pgweir does not create it), or check --store and --store-endpoint."},
    {"AccessDenied", Trouble::refused,
     "The access key lacks a permission. It needs s3:PutObject, s3:GetObject and s3:ListBucket "
     "for this bucket."},
    {"SignatureDoesNotMatch", Trouble::refused, kSecretHint},
    {"InvalidAccessKeyId", Trouble::refused, "The store does not know this access key."},
    {"InvalidObjectState", Trouble::refused,
     "The object is in a storage class that cannot be read directly, possibly because of a "
     "lifecycle rule. Restore it in the store first."},
    {"QuotaExceeded", Trouble::refused, "The store's quota for this user or bucket is used up."},
    // Azure
    {"ServerBusy", Trouble::throttled, {}},
    {"OperationTimedOut", Trouble::unreachable, {}},
    {"Md5Mismatch", Trouble::unreachable, {}},
    {"InvalidAuthenticationInfo", Trouble::expired, kExpiredHint},
    {"InvalidHeaderValue", Trouble::unable,
     "Check that the store supports this "
     "--store-api-version."},
    {"ContainerNotFound", Trouble::refused,
     "Create the container first (pgweir does not create it), or check --store and "
     "--store-endpoint."},
    {"ResourceNotFound", Trouble::refused,
     "Check the storage account in --store-endpoint or AZURE_STORAGE_ACCOUNT."},
    {"AuthenticationFailed", Trouble::refused,
     "The store rejected the account key, shared access signature, or token. Check it, and the "
     "name of the storage account."},
    {"NoAuthenticationInformation", Trouble::refused, {}},
    {"AuthorizationPermissionMismatch", Trouble::refused, {}},
    {"AuthorizationFailure", Trouble::refused,
     "The storage account's firewall does not permit this machine, or the shared access "
     "signature does not permit this request. An emulator also returns this error for a wrong "
     "key."},
    {"AuthorizationProtocolMismatch", Trouble::refused,
     "The shared access signature is valid for https only."},
    {"KeyBasedAuthenticationNotPermitted", Trouble::refused,
     "The storage account does not permit account keys: use a managed identity, or another token."},
    {"BlobArchived", Trouble::refused,
     "The object is in the archive tier, possibly because of a lifecycle rule. Restore it in the "
     "store first."},
    {"BlobImmutableDueToPolicy", Trouble::refused, kLockHint},
    {"BlobImmutableDueToLegalHold", Trouble::refused, kLockHint},
    {"LeaseIdMissing", Trouble::refused,
     "Another program holds a lease on the object: end that program, or break the lease."},
    {"SnapshotsPresent", Trouble::refused, {}},
    // Google, also for a token that has expired
    {"AuthenticationRequired", Trouble::expired, kExpiredHint},
});

const Meaning* meaning_of(std::string_view code) {
  const auto* const found = std::find_if(kMeanings.begin(), kMeanings.end(),
                                         [&](const auto& each) { return each.code == code; });
  return found == kMeanings.end() ? nullptr : found;
}

Trouble by_status(long status) {
  switch (status) {
    case 301:
    case 302:
    case 307:
    case 308:
      return Trouble::region;
    case 401:
      return Trouble::expired;
    case 429:
    case 503:
      return Trouble::throttled;
    case 501:
    case 405:
      return Trouble::unable;
    case 408:
    case 409:
    case 499:
      return Trouble::unreachable;
    default:
      // 200 is included: an error after a status that was sent too early.
      return status >= 500 || status < 400 ? Trouble::unreachable : Trouble::refused;
  }
}

}  // namespace

std::string short_text(std::string_view text) {
  std::string line;
  for (const char c : trimmed(text).substr(0, 200))
    line += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return line;
}

StoreError::StoreError(Trouble trouble, std::string message)
    : ErrorAs(may_pass(trouble)             ? ErrorKind::retry
              : trouble == Trouble::stopped ? ErrorKind::retry
                                            : ErrorKind::refused,
              std::move(message)),
      trouble_(trouble) {}

StoreError&& StoreError::with_code(std::string code) && {
  code_ = std::move(code);
  return std::move(*this);
}

StoreError&& StoreError::with_retry_after(std::chrono::milliseconds time) && {
  retry_after_ = time;
  return std::move(*this);
}

StoreError&& StoreError::with_left(std::vector<Kept> left) && {
  left_ = std::move(left);
  return std::move(*this);
}

std::chrono::milliseconds retry_after_of(const Error& error) {
  const auto* const of_store = dynamic_cast<const StoreError*>(&error);
  return of_store != nullptr ? of_store->retry_after() : std::chrono::milliseconds(0);
}

bool may_pass(Trouble trouble) {
  return trouble == Trouble::throttled || trouble == Trouble::unreachable ||
         trouble == Trouble::no_keys;
}

std::optional<Refusal> parse_error(std::string_view body) {
  pugi::xml_document document;
  const auto root = root_of(document, body, "Error");
  if (!root) return std::nullopt;
  return Refusal{root->child_value("Code"), root->child_value("Message"),
                 root->child_value("Region"), root->child_value("AuthenticationErrorDetail")};
}

bool is_frozen(std::string_view storage_class) {
  return storage_class == "GLACIER" || storage_class == "DEEP_ARCHIVE";
}

std::optional<ObjectPage> parse_listing(std::string_view body) {
  pugi::xml_document document;
  const auto root = root_of(document, body, "ListBucketResult");
  if (!root) return std::nullopt;
  ObjectPage page;
  for (const auto& each : root->children("Contents")) {
    const auto size = parse_number<std::uint64_t>(each.child_value("Size"));
    const std::string key = each.child_value("Key");
    if (!size || key.empty()) return std::nullopt;
    const auto modified = parse_expiration(each.child_value("LastModified"));
    const auto etag = unquoted(each.child_value("ETag"));
    // Google compares generations, not ETags.
    const std::string generation = each.child_value("Generation");
    page.objects.push_back(
        {.key = key,
         .size = *size,
         .etag = generation.empty() ? etag : generation,
         .modified = modified ? *modified : std::chrono::system_clock::time_point::max(),
         .md5 = md5_of_etag(etag),
         .frozen = is_frozen(each.child_value("StorageClass"))});
  }
  const std::string_view truncated = root->child_value("IsTruncated");
  if (truncated != "true" && truncated != "false") return std::nullopt;
  page.more = truncated == "true";
  return page;
}

std::string continuation_of(std::string_view body) {
  pugi::xml_document document;
  const auto root = root_of(document, body, "ListBucketResult");
  return root ? root->child_value("NextContinuationToken") : "";
}

bool leads_on(const ObjectPage& page, std::string_view after) {
  return !page.more || (!page.objects.empty() && page.objects.back().key > after);
}

std::optional<std::vector<Versions::Version>> parse_versions(std::string_view body,
                                                             std::string_view key) {
  pugi::xml_document document;
  const auto root = root_of(document, body, "ListVersionsResult");
  if (!root) return std::nullopt;
  std::vector<Versions::Version> versions;
  for (const auto& each : root->children()) {
    const bool removal = std::string_view(each.name()) == "DeleteMarker";
    if ((removal || std::string_view(each.name()) == "Version") && each.child_value("Key") == key)
      versions.push_back({each.child_value("VersionId"), removal});
  }
  return versions;
}

std::string next_version_marker(std::string_view body, std::string_view key) {
  pugi::xml_document document;
  const auto root = root_of(document, body, "ListVersionsResult");
  if (!root || std::string_view(root->child_value("IsTruncated")) != "true" ||
      root->child_value("NextKeyMarker") != key)
    return "";
  return root->child_value("NextVersionIdMarker");
}

std::optional<Removal> parse_removal(std::string_view body) {
  pugi::xml_document document;
  const auto root = root_of(document, body, "DeleteResult");
  if (!root) return std::nullopt;
  Removal removal;
  for (const auto& each : root->children("Error")) {
    const std::string code = each.child_value("Code");
    const auto* const meaning = meaning_of(code);
    removal.kept.push_back({each.child_value("Key"),
                            fmt::format("{} {}", code, short_text(each.child_value("Message")))});
    if (meaning != nullptr && may_pass(meaning->trouble) && !removal.passing)
      removal.passing = removal.kept.back();
  }
  return removal;
}

std::optional<std::vector<LifecycleRule>> parse_lifecycle(std::string_view body) {
  pugi::xml_document document;
  const auto root = root_of(document, body, "LifecycleConfiguration");
  if (!root) return std::nullopt;
  std::vector<LifecycleRule> rules;
  for (const auto& each : root->children("Rule")) {
    if (std::string_view(each.child_value("Status")) != "Enabled") continue;
    LifecycleRule rule;
    rule.id = each.child_value("ID");
    const auto filter = each.child("Filter");
    const auto all_of = filter.child("And");
    for (const auto& from : {pugi::xml_node(each), filter, all_of})
      if (const auto prefix = from.child("Prefix")) rule.prefix = prefix.child_value();
    rule.filtered = all_of || filter.child("Tag") || filter.child("ObjectSizeGreaterThan") ||
                    filter.child("ObjectSizeLessThan");
    const auto expiration = each.child("Expiration");
    rule.expires_days = parse_number<std::uint64_t>(expiration.child_value("Days"));
    if (const auto date = expiration.child("Date")) rule.expires_date = date.child_value();
    for (const auto& move : each.children("Transition"))
      rule.moves_to.emplace_back(move.child_value("StorageClass"));
    rules.push_back(std::move(rule));
  }
  return rules;
}

std::optional<std::string> parse_versioning(std::string_view body) {
  pugi::xml_document document;
  const auto root = root_of(document, body, "VersioningConfiguration");
  return root ? std::optional<std::string>(root->child_value("Status")) : std::nullopt;
}

std::optional<LockSettings> parse_lock(std::string_view body) {
  pugi::xml_document document;
  const auto root = root_of(document, body, "ObjectLockConfiguration");
  if (!root) return std::nullopt;
  LockSettings lock;
  lock.enabled = std::string_view(root->child_value("ObjectLockEnabled")) == "Enabled";
  const auto retention = root->child("Rule").child("DefaultRetention");
  lock.mode = retention.child_value("Mode");
  for (const auto* const unit : {"Days", "Years"})
    if (const std::string count = retention.child_value(unit); !count.empty())
      lock.period = count + (unit[0] == 'D' ? " days" : " years");
  return lock;
}

namespace {

constexpr std::string_view kRemoval =
    "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>";

std::string xml_text(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else
      escaped += c;
  }
  return escaped;
}

}  // namespace

std::string removal_request(std::span<const std::string> keys) {
  std::string body(kRemoval);
  for (const auto& key : keys) body += "<Object><Key>" + xml_text(key) + "</Key></Object>";
  return body + "</Delete>";
}

std::string removal_request(const std::string& key, std::span<const std::string> versions) {
  std::string body(kRemoval);
  for (const auto& version : versions)
    body += "<Object><Key>" + xml_text(key) + "</Key><VersionId>" + xml_text(version) +
            "</VersionId></Object>";
  return body + "</Delete>";
}

namespace {

/// An answer to HEAD has no body; Azure names the code in a header.
std::optional<Refusal> told_by(const Answer& answer) {
  auto told = parse_error(answer.body);
  if (!told)
    if (auto code = code_of(answer); !code.empty()) return Refusal{std::move(code)};
  // Azure appends "RequestId:…" and "Time:…" on lines of their own.
  if (told) told->message = told->message.substr(0, told->message.find("\nRequestId:"));
  // One code for every failed authentication; details distinguish them.
  if (told && told->code == "AuthenticationFailed") {
    const auto says = [&](const char* words) {
      return told->detail.find(words) != std::string::npos;
    };
    if (says("Request date header too old"))
      told->code = "RequestTimeTooSkewed";
    else if (says("not valid in the specified time frame"))
      told->code = "ExpiredToken";
  }
  return told;
}

/// Longer times are not waited for: the store may answer earlier than it thinks.
constexpr std::chrono::minutes kLongestRetryAfter{5};

/// Retry-After in seconds (RFC 9110, 10.2.3). As a date it is not used, since clocks differ.
std::chrono::milliseconds retry_after(const Answer& answer) {
  const auto* const header = answer.header("retry-after");
  if (header == nullptr || (answer.status != 429 && answer.status != 503)) return {};
  const auto seconds = parse_number<std::uint32_t>(*header);
  if (!seconds) return {};
  return std::min<std::chrono::milliseconds>(std::chrono::seconds(*seconds), kLongestRetryAfter);
}

}  // namespace

StoreError error_of(const Answer& answer, const std::string& what, const std::string& name) {
  const auto told = told_by(answer);
  const auto* const meaning = told ? meaning_of(told->code) : nullptr;
  const auto trouble = meaning != nullptr ? meaning->trouble : by_status(answer.status);
  auto said = told && !told->code.empty()
                  ? told->code + (told->message.empty() || told->message == told->code
                                      ? std::string()
                                      : ": " + short_text(told->message))
                  : short_text(answer.body);
  StoreError error(trouble, fmt::format("{}: the store answered {}{}{}", what, answer.status,
                                        said.empty() ? "" : " ", said));
  error.with("object", name);
  const auto* const header = answer.header("x-amz-bucket-region");
  const auto region = told && !told->region.empty() ? told->region : header ? *header : "";
  if (!region.empty()) error.with("region", region);
  const auto* const location = answer.header("location");
  const bool elsewhere =
      trouble == Trouble::region && !told && region.empty() && location != nullptr;
  // The query may contain a shared access signature.
  if (elsewhere) error.with("location", short_text(location->substr(0, location->find('?'))));
  if (meaning != nullptr && !meaning->hint.empty())
    error.hint(meaning->hint);
  else if (elsewhere)
    error.hint(
        "Redirects are not followed. A proxy or gateway before the store sends them: check "
        "--store-endpoint, such as https:// in place of http://.");
  else if (trouble == Trouble::region)
    error.hint(kRegionHint);
  else if (answer.status == 403)
    error.hint(
        "The store gives no reason. Check the access key, secret key, region and permissions: "
        "s3:ListBucket to list, s3:GetObject to read an object and its size, s3:PutObject to "
        "write.");
  return std::move(error).with_code(told ? told->code : "").with_retry_after(retry_after(answer));
}

StoreError error_of(const NoAnswer& failure, const std::string& what, const std::string& name) {
  using Why = NoAnswer::Why;
  const auto trouble = failure.why() == Why::not_believed || failure.why() == Why::wrong
                           ? Trouble::refused
                       : failure.why() == Why::given_up ? Trouble::stopped
                                                        : Trouble::unreachable;
  StoreError error(trouble, fmt::format("{}: {}", what, failure.message()));
  error.with("object", name);
  if (failure.why() == Why::not_believed)
    error.hint("Name the CA that issued the store's certificate with --store-ca.");
  else if (failure.why() == Why::not_reached)
    error.hint("Check --store-endpoint, and that the store can be reached from this machine.");
  else if (failure.message().find("wrong version number") != std::string::npos)
    error.hint(
        "The port does not use TLS. If this is intended, --store-endpoint must start with "
        "http://.");
  return error;
}

std::string unquoted(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    text = text.substr(1, text.size() - 2);
  return std::string(text);
}

std::string code_of(const Answer& answer) {
  if (const auto* const code = answer.header("x-ms-error-code")) return *code;
  const auto told = parse_error(answer.body);
  return told ? told->code : std::string();
}

std::string etag_of(const Answer& answer) {
  const auto* const etag = answer.header("etag");
  return etag != nullptr ? unquoted(*etag) : std::string();
}

}  // namespace weir::store
