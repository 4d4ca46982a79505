#include "store/http/shared_key.h"

#include <fmt/format.h>

#include <map>
#include <span>

#include "base/base64.h"
#include "base/text.h"
#include "crypto/primitives.h"
#include "store/http/signature.h"

namespace weir::store {

std::string shared_key_text(const SharedKeySigning& what) {
  std::map<std::string, std::string> headers;
  for (const auto& header : what.headers) headers[lower_case(header.name)] = trimmed(header.value);
  if (what.body_size > 0) headers["content-length"] = std::to_string(what.body_size);
  auto text = what.method + "\n";
  for (const auto* const name :
       {"content-encoding", "content-language", "content-length", "content-md5", "content-type",
        "date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"})
    text += headers[name] + "\n";
  for (const auto& [name, value] : headers)
    if (name.starts_with("x-ms-")) text += fmt::format("{}:{}\n", name, value);
  text += "/" + what.account + what.path;
  std::map<std::string, std::string> query;
  for (const auto& [name, value] : what.query) query[lower_case(name)] = value;
  for (const auto& [name, value] : query) text += fmt::format("\n{}:{}", name, value);
  return text;
}

std::optional<std::string> shared_key_authorization(const SharedKeySigning& what,
                                                    const Secret& key) {
  auto decoded = from_base64(key.reveal());
  if (!decoded) return std::nullopt;
  const Secret bytes(std::move(*decoded));
  const auto signature =
      crypto::hmac_sha256(std::as_bytes(std::span(bytes.reveal())), shared_key_text(what));
  return fmt::format("SharedKey {}:{}", what.account, to_base64(signature));
}

}  // namespace weir::store
