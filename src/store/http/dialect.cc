// One client (`HttpStore`) serves all kinds of stores: requests, retries after expired credentials
// or a wrong clock, rates and secrets are the same for each. A `Dialect` is pure: it builds
// requests and interprets answers, so it is tested without a server. S3 and Google Cloud Storage
// share one, because Google's XML API differs in names and in one condition. Azure's SDK for C++ is
// not used: it uploads in blocks, which leave remains and no MD5, it retries by itself, and it adds
// four libraries to a module that is loaded for each restored segment.

#include "store/http/dialect.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <time.h>

#include "base/base64.h"
#include "crypto/digest.h"

namespace weir::store {

Dialect::Batch Dialect::removal_batch(std::span<const std::string> /*keys*/,
                                      const Credentials& /*credentials*/, Time /*now*/) const {
  return {};
}

std::vector<bool> Dialect::removed_by_batch(const Answer& /*answer*/, std::size_t /*count*/) const {
  return {};
}

std::optional<std::chrono::sys_seconds> parse_http_date(const std::string& text) {
  struct tm broken {};
  const char* const rest = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &broken);
  if (rest == nullptr || *rest != '\0') return std::nullopt;
  return std::chrono::sys_seconds(std::chrono::seconds(::timegm(&broken)));
}

std::string to_http_date(std::chrono::sys_seconds time) {
  return fmt::format("{:%a, %d %b %Y %H:%M:%S GMT}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::string base64_of_hex(std::string_view hex) {
  std::vector<std::byte> bytes;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(digit(hex[i]) * 16 + digit(hex[i + 1])));
  return to_base64(bytes);
}

std::string hex_of_base64(std::string_view base64) {
  const auto bytes = from_base64(base64);
  return bytes ? crypto::to_hex(std::as_bytes(std::span(*bytes))) : std::string();
}

}  // namespace weir::store
