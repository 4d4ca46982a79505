#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/http/credentials.h"
#include "store/http/transport.h"
#include "store/http/url.h"

// Azure's Shared Key ("Authorize with Shared Key", Blob service, 2009-09-19 and later).

namespace weir::store {

struct SharedKeySigning {
  std::string method;
  std::string account;
  std::string path;  ///< encoded, as sent
  Query query{};
  /// All that Azure signs must be among them, and a date as x-ms-date, not as Date.
  std::vector<Request::Header> headers{};
  std::uint64_t body_size = 0;  ///< 0 also if there is no body
};
/// The text that is signed. Pure.
[[nodiscard]] std::string shared_key_text(const SharedKeySigning& what);
/// The value of Authorization. Returns nullopt if the key is not base64. Pure except for libcrypto,
/// which it loads.
[[nodiscard]] std::optional<std::string> shared_key_authorization(const SharedKeySigning& what,
                                                                  const Secret& key);

}  // namespace weir::store
