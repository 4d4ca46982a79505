#include "store/http/azure_dialect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <pugixml.hpp>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "store/http/answers.h"
#include "store/http/shared_key.h"

namespace weir::store {

namespace {

/// Maximum of a page ("List Blobs").
constexpr std::size_t kMostOfAPage = 5000;
/// Likewise of a batch ("Blob Batch").
constexpr std::size_t kMostOfABatch = 256;
constexpr const char* kBoundary = "batch_pgweir";

/// All that pgweir writes (uploader.cc, sealing.cc, padded.h, rewrap.cc).
constexpr auto kAzureMetadata = std::to_array<std::string_view>(
    {"pgweir-system-id", "pgweir-segment-size", "pgweir-sha256", "pgweir-padded-from",
     "pgweir-hmac", "pgweir-hmac-key", "pgweir-plain-size", "pgweir-recipients"});

std::string metadata_name_of(std::string_view azure) {
  for (const auto name : kAzureMetadata)
    if (azure_metadata_name(name) == azure) return std::string(name);
  return std::string(azure);
}

std::optional<pugi::xml_node> blobs_of(pugi::xml_document& document, std::string_view body) {
  // A byte order mark, which Azure sends, is recognized.
  if (!document.load_buffer(body.data(), body.size())) return std::nullopt;
  const auto root = document.document_element();
  if (!root || std::string_view(root.name()) != "EnumerationResults") return std::nullopt;
  // Without it, the document is cut off, or another one.
  if (!root.child("Blobs") || !root.child("NextMarker")) return std::nullopt;
  return root;
}

}  // namespace

std::string azure_metadata_name(std::string_view name) {
  std::string letters(name);
  std::erase(letters, '-');
  return letters;
}

AzureDialect::AzureDialect(BucketSettings settings) : settings_(std::move(settings)) {}

std::string AzureDialect::name() const { return "azure://" + settings_.bucket; }

std::string AzureDialect::right_for(Operation operation) const {
  switch (operation) {
    case Operation::put:
      return "c (create) of a shared access signature, and w (write) to replace an object; or the "
             "role Storage Blob Data Contributor";
    case Operation::read:
      return "r (read) of a shared access signature, or the role Storage Blob Data Reader";
    case Operation::list:
      return "l (list) of a shared access signature for the container, or the role Storage Blob "
             "Data Reader";
    case Operation::remove:
      return "d (delete) of a shared access signature, or the role Storage Blob Data Contributor";
    case Operation::settings:
      break;
  }
  return "rights of the management plane";
}

std::string AzureDialect::path_of(const std::string& key) const {
  return settings_.endpoint.path +
         percent_encoded("/" + settings_.bucket + (key.empty() ? "" : "/" + key), Slashes::stay);
}

std::string AzureDialect::sign(const std::string& method, const std::string& path,
                               const Query& query, std::uint64_t body_size,
                               const Credentials& credentials, Headers& headers) const {
  auto sent = to_text(query);
  switch (credentials.kind) {
    case Credentials::Kind::token:
      headers.push_back({"Authorization", "Bearer " + credentials.session_token.reveal()});
      break;
    case Credentials::Kind::sas:
      sent += (sent.empty() ? "" : "&") + credentials.session_token.reveal();
      break;
    case Credentials::Kind::keys: {
      auto authorization = shared_key_authorization({.method = method,
                                                     .account = settings_.account,
                                                     .path = path,
                                                     .query = query,
                                                     .headers = headers,
                                                     .body_size = body_size},
                                                    credentials.secret_key);
      if (!authorization)
        throw Error(ErrorKind::usage, "the storage account's key is not valid base64")
            .with("source", credentials.source);
      headers.push_back({"Authorization", std::move(*authorization)});
      break;
    }
  }
  return sent;
}

Request AzureDialect::signed_request(const Asked& asked, const Credentials& credentials,
                                     Time now) const {
  const auto path = path_of(asked.key);
  Request request{.method = asked.method, .headers = asked.headers, .body = asked.body};
  auto query = asked.query;
  if (asked.key.empty()) query["restype"] = "container";
  request.headers.push_back({"x-ms-date", to_http_date(now)});
  request.headers.push_back(
      {"x-ms-version", settings_.version.empty() ? kAzureVersion : settings_.version});
  const auto sent = sign(asked.method, path, query, asked.body != nullptr ? asked.body->size() : 0,
                         credentials, request.headers);
  request.url = fmt::format("{}://{}{}{}{}", settings_.endpoint.scheme, settings_.endpoint.host,
                            path, sent.empty() ? "" : "?", sent);
  return request;
}

Dialect::Headers AzureDialect::put_headers(const Content& content, Time now) const {
  Headers headers = {{"Content-Type", "application/octet-stream"},
                     {"Content-MD5", base64_of_hex(content.md5)},
                     {"x-ms-blob-type", "BlockBlob"}};
  for (const auto& [name, value] : content.metadata)
    headers.push_back({"x-ms-meta-" + azure_metadata_name(name), value});
  if (!settings_.storage_class.empty())
    headers.push_back({"x-ms-access-tier", settings_.storage_class});
  if (content.locked && settings_.lock) {
    const auto until = now + std::chrono::ceil<std::chrono::seconds>(settings_.lock->time);
    headers.push_back({"x-ms-immutability-policy-until-date", to_http_date(until)});
    headers.push_back(
        {"x-ms-immutability-policy-mode", settings_.lock->compliance ? "Locked" : "Unlocked"});
  }
  return headers;
}

Request::Header AzureDialect::if_match(const std::string& etag, bool) const {
  return {"If-Match", "\"" + etag + "\""};
}

Dialect::PutResult AzureDialect::put_result(const Answer& answer) const {
  if (answer.status == 201) return PutResult::stored;
  const auto code = code_of(answer);
  // With a right to create only, an existing blob is a matter of rights.
  if ((answer.status == 409 && code == "BlobAlreadyExists") ||
      (answer.status == 412 && code == "ConditionNotMet") ||
      (answer.status == 403 && code == "UnauthorizedBlobOverwrite"))
    return PutResult::taken;
  return PutResult::failed;
}

bool AzureDialect::is_absent(const Answer& answer) const {
  return answer.status == 404 && code_of(answer) == "BlobNotFound";
}

ObjectHead AzureDialect::head_of(const Answer& answer, Time now) const {
  ObjectHead head;
  head.etag = etag_of(answer);
  head.md5 = md5_of(answer);
  const auto* const until = answer.header("x-ms-immutability-policy-until-date");
  const auto time = until != nullptr ? parse_http_date(*until) : std::nullopt;
  const auto* const hold = answer.header("x-ms-legal-hold");
  head.locked = (time && *time > now) || (hold != nullptr && *hold == "true");
  constexpr std::string_view kMeta = "x-ms-meta-";
  for (const auto& [name, value] : answer.headers)
    if (name.starts_with(kMeta))
      head.metadata[metadata_name_of(std::string_view(name).substr(kMeta.size()))] = value;
  return head;
}

std::string AzureDialect::md5_of(const Answer& answer) const {
  const auto* const md5 = answer.header("content-md5");
  return md5 != nullptr ? hex_of_base64(*md5) : std::string();
}

Query AzureDialect::listing(const std::string& prefix, const std::string& after, std::size_t most,
                            const std::string& marker) const {
  Query query = {{"comp", "list"},
                 {"maxresults", std::to_string(std::min(most, kMostOfAPage))},
                 {"prefix", prefix}};
  if (!marker.empty())
    query["marker"] = marker;
  else if (!after.empty())
    query["startFrom"] = after;
  return query;
}

std::optional<Dialect::Page> AzureDialect::parse_page(std::string_view body) const {
  pugi::xml_document document;
  const auto root = blobs_of(document, body);
  if (!root) return std::nullopt;
  Page page;
  page.marker = root->child_value("NextMarker");
  for (const auto& each : root->child("Blobs").children("Blob")) {
    const auto name = each.child("Name");
    const auto properties = each.child("Properties");
    // A hierarchical namespace lists its directories. A name that XML cannot hold is not ours.
    if (std::string_view(properties.child_value("ResourceType")) == "directory" ||
        name.attribute("Encoded").as_bool())
      continue;
    const auto size = parse_number<std::uint64_t>(properties.child_value("Content-Length"));
    const std::string key = name.child_value();
    if (!size || key.empty()) return std::nullopt;
    const auto modified = parse_http_date(properties.child_value("Last-Modified"));
    page.page.objects.push_back(
        {.key = key,
         .size = *size,
         .etag = unquoted(properties.child_value("Etag")),
         .modified = modified ? *modified : std::chrono::system_clock::time_point::max(),
         .md5 = hex_of_base64(properties.child_value("Content-MD5")),
         .frozen = std::string_view(properties.child_value("AccessTier")) == "Archive"});
  }
  return page;
}

bool AzureDialect::shows_versions(const Answer& answer) const {
  const auto* const version = answer.header("x-ms-version-id");
  return version != nullptr && !version->empty();
}

Query AzureDialect::versions_listing(const std::string& key) const {
  return {{"comp", "list"}, {"include", "versions"}, {"prefix", key}};
}

Query AzureDialect::next_versions(std::string_view body, std::string_view key) const {
  pugi::xml_document document;
  const auto root = blobs_of(document, body);
  if (!root) return {};
  const std::string marker = root->child_value("NextMarker");
  const auto last = root->child("Blobs").last_child();
  // A page may be empty, and others follow.
  if (marker.empty() || (last && last.child_value("Name") != key)) return {};
  return {{"marker", marker}};
}

/// Azure lists the oldest first, and no removals: a removed blob has no current version.
std::optional<std::vector<Versions::Version>> AzureDialect::parse_versions_of(
    std::span<const std::string> pages, std::string_view key) const {
  std::vector<Versions::Version> versions;
  bool current = false;
  for (const auto& page : pages) {
    pugi::xml_document document;
    const auto root = blobs_of(document, page);
    if (!root) return std::nullopt;
    for (const auto& each : root->child("Blobs").children("Blob")) {
      const std::string id = each.child_value("VersionId");
      if (each.child_value("Name") != key || id.empty()) continue;
      if (std::string_view(each.child_value("IsCurrentVersion")) == "true") current = true;
      versions.push_back({id});
    }
  }
  if (!versions.empty() && !current) versions.push_back({"", true});
  std::reverse(versions.begin(), versions.end());
  return versions;
}

std::size_t AzureDialect::batch_size() const { return kMostOfABatch; }

/// "Blob Batch": DELETEs as parts of a body, each with its own date and signature, and without
/// x-ms-version. A key is encoded, so no part can contain the boundary.
Dialect::Batch AzureDialect::removal_batch(std::span<const std::string> keys,
                                           const Credentials& credentials, Time now) const {
  Batch batch;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto path = path_of(keys[i]);
    Headers headers = {{"x-ms-date", to_http_date(now)}};
    const auto sent = sign("DELETE", path, {}, 0, credentials, headers);
    batch.body += fmt::format(
        "--{}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
        "Content-ID: {}\r\n\r\nDELETE {}{}{} HTTP/1.1\r\n",
        kBoundary, i, path, sent.empty() ? "" : "?", sent);
    for (const auto& header : headers)
      batch.body += fmt::format("{}: {}\r\n", header.name, header.value);
    batch.body += "Content-Length: 0\r\n\r\n";
  }
  batch.body += fmt::format("--{}--\r\n", kBoundary);
  batch.asked = {
      .method = "POST",
      .query = {{"comp", "batch"}},
      .headers = {{"Content-Type", fmt::format("multipart/mixed; boundary={}", kBoundary)}}};
  return batch;
}

/// The parts have the order of the requests; some lack a Content-ID. If there are fewer than asked
/// for, the batch was rejected as a whole.
std::vector<bool> AzureDialect::removed_by_batch(const Answer& answer, std::size_t count) const {
  constexpr std::string_view kStatus = "HTTP/1.1 ";
  constexpr std::size_t kDigits = 3;
  const auto* const type = answer.header("content-type");
  const auto at = type != nullptr ? type->find("boundary=") : std::string::npos;
  if (answer.status != 202 || at == std::string::npos) return {};
  auto boundary = trimmed(std::string_view(*type).substr(at + 9));
  if (boundary.starts_with('"')) boundary = boundary.substr(1, boundary.find('"', 1) - 1);
  const auto border = "--" + std::string(boundary.substr(0, boundary.find(';')));
  std::vector<bool> removed;
  std::string_view rest = answer.body;
  for (auto next = rest.find(border); next != std::string_view::npos;) {
    rest = rest.substr(next + border.size());
    next = rest.find(border);
    const auto part = rest.substr(0, next);
    const auto status = part.find(kStatus);
    if (status == std::string_view::npos) continue;
    const auto number = parse_number<int>(part.substr(status + kStatus.size(), kDigits));
    removed.push_back(number == 202 ||
                      (number == 404 && part.find("BlobNotFound") != std::string_view::npos));
  }
  return removed.size() == count ? removed : std::vector<bool>();
}

}  // namespace weir::store
