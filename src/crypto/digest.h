#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// OpenSSL's own type, without its headers.
struct evp_md_ctx_st;

namespace weir::crypto {

/// A digest of data in pieces, by OpenSSL. Throws as documented in primitives.h. One thread.
class Digest {
 public:
  enum class Kind {
    sha256,
    sha512,
    md5,   ///< not for security: required by HTTP's Content-MD5
    sha1,  ///< not for security: in the names of pgBackRest's segments
  };
  explicit Digest(Kind kind);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void add(std::span<const std::byte> bytes);
  /// Digest of all bytes added. Call it once.
  [[nodiscard]] std::vector<std::byte> finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// "0f1e…"
[[nodiscard]] std::string to_hex(std::span<const std::byte> bytes);
/// Digest of these bytes, formatted by to_hex().
[[nodiscard]] std::string digest_of(Digest::Kind kind, std::span<const std::byte> bytes);
[[nodiscard]] std::string digest_of(Digest::Kind kind, std::string_view text);

}  // namespace weir::crypto
