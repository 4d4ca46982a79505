#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

// OpenSSL's own type, without its headers.
struct evp_md_ctx_st;

namespace weir::crypto {

/// SHA-1 of data in pieces, by OpenSSL: only for pgBackRest's segment names, which are not a matter
/// of security. Throws as documented in primitives.h. One thread.
class Sha1 {
 public:
  Sha1();
  ~Sha1();
  Sha1(const Sha1&) = delete;
  Sha1& operator=(const Sha1&) = delete;

  void add(std::span<const std::byte> bytes);
  /// Digest of all bytes added, as lower-case hex digits. Call it once.
  [[nodiscard]] std::string finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace weir::crypto
