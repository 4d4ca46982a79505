#include "store/url.h"

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

}  // namespace

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
  if (text.ends_with('/')) text.remove_suffix(1);
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
  if (!text.starts_with("s3://")) return std::nullopt;
  text.remove_prefix(5);
  const auto slash = std::min(text.find('/'), text.size());
  Place place;
  place.bucket = text.substr(0, slash);
  auto prefix = text.substr(std::min(slash + 1, text.size()));
  while (prefix.starts_with('/')) prefix.remove_prefix(1);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (!is_bucket(place.bucket) || std::any_of(prefix.begin(), prefix.end(), control) ||
      prefix.find("//") != std::string_view::npos)
    return std::nullopt;
  // A key is part of a URL's path, where these segments have a special meaning.
  for (auto rest = prefix; !rest.empty();) {
    const auto end = std::min(rest.find('/'), rest.size());
    if (rest.substr(0, end) == "." || rest.substr(0, end) == "..") return std::nullopt;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  place.prefix = prefix;
  return place;
}

}  // namespace weir::store
