#include "store/http/url.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace weir::store {

namespace {

bool letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_bucket(std::string_view text) {
  if (text.size() < 3 || text.size() > 63) return false;
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           // older buckets, and other products
           (c >= 'A' && c <= 'Z') || c == '_';
  };
  return std::all_of(text.begin(), text.end(), good) && letter_or_digit(text.front()) &&
         letter_or_digit(text.back()) && text.find("..") == std::string_view::npos;
}

/// Letters and digits in lower case, separated by single hyphens.
bool is_container(std::string_view text) {
  if (text.size() < 3 || text.size() > 63) return false;
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  return std::all_of(text.begin(), text.end(), good) && text.front() != '-' && text.back() != '-' &&
         text.find("--") == std::string_view::npos;
}

/// Parts that have a special meaning in a URL's path.
bool has_odd_part(std::string_view path) {
  if (path.find("//") != std::string_view::npos) return true;
  while (!path.empty()) {
    const auto end = std::min(path.find('/'), path.size());
    if (path.substr(0, end) == "." || path.substr(0, end) == "..") return true;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return false;
}

}  // namespace

std::string_view to_string(StoreKind kind) {
  switch (kind) {
    case StoreKind::azure:
      return "azure";
    case StoreKind::gs:
      return "gs";
    case StoreKind::s3:
      break;
  }
  return "s3";
}

std::string percent_encoded(std::string_view text, Slashes slashes) {
  std::string encoded;
  for (const char c : text) {
    if (letter_or_digit(c) || c == '-' || c == '.' || c == '_' || c == '~' ||
        (c == '/' && slashes == Slashes::stay))
      encoded += c;
    else
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

std::string to_text(const Query& query) {
  std::string text;
  for (const auto& [name, value] : query)
    text +=
        fmt::format("{}{}={}", text.empty() ? "" : "&", percent_encoded(name, Slashes::are_encoded),
                    percent_encoded(value, Slashes::are_encoded));
  return text;
}

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
  Endpoint endpoint;
  if (text.starts_with("https://")) {
    text.remove_prefix(8);
  } else if (text.starts_with("http://")) {
    endpoint.scheme = "http";
    text.remove_prefix(7);
  } else {
    return std::nullopt;
  }
  const auto slash = text.find('/');
  if (slash != std::string_view::npos) {
    auto path = text.substr(slash);
    text = text.substr(0, slash);
    while (path.ends_with('/')) path.remove_suffix(1);
    const auto sent = [](char c) {
      return letter_or_digit(c) || c == '-' || c == '.' || c == '_' || c == '~' || c == '/';
    };
    if (!std::all_of(path.begin(), path.end(), sent) || has_odd_part(path)) return std::nullopt;
    endpoint.path = path;
  }
  const auto good = [](char c) {
    return letter_or_digit(c) || c == '-' || c == '.' || c == '_' || c == ':' || c == '[' ||
           c == ']';
  };
  if (text.empty() || !std::all_of(text.begin(), text.end(), good)) return std::nullopt;
  const auto bracket = text.find(']');
  const auto colon = text.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    const auto port = parse_number<unsigned>(text.substr(colon + 1));
    if (colon == 0 || !port || *port == 0 || *port > 65535) return std::nullopt;
    // libcurl omits the scheme's default port in the Host header, which is signed.
    if (*port == (endpoint.scheme == "https" ? 443U : 80U)) text = text.substr(0, colon);
  }
  endpoint.host = text;
  return endpoint;
}

std::optional<Place> Place::parse(std::string_view text) {
  Place place;
  bool known = false;
  for (const auto kind : {StoreKind::s3, StoreKind::azure, StoreKind::gs}) {
    const auto start = std::string(store::to_string(kind)) + "://";
    if (!text.starts_with(start)) continue;
    text.remove_prefix(start.size());
    place.kind = kind;
    known = true;
    break;
  }
  if (!known) return std::nullopt;
  const auto slash = std::min(text.find('/'), text.size());
  place.bucket = text.substr(0, slash);
  auto prefix = text.substr(std::min(slash + 1, text.size()));
  while (prefix.starts_with('/')) prefix.remove_prefix(1);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  const bool named =
      place.kind == StoreKind::azure ? is_container(place.bucket) : is_bucket(place.bucket);
  if (!named || std::any_of(prefix.begin(), prefix.end(), control) || has_odd_part(prefix))
    return std::nullopt;
  place.prefix = prefix;
  return place;
}

}  // namespace weir::store
