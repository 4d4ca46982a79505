#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "crypto/primitives.h"

struct evp_cipher_ctx_st;

namespace weir::crypto {

// The primitives of age's file format. OpenSSL's, as in primitives.h, with the same errors.

/// Size for X25519 (RFC 7748): of a private or a public key, or a shared secret.
inline constexpr std::size_t kX25519Size = 32;
using X25519 = std::array<std::byte, kX25519Size>;

[[nodiscard]] X25519 x25519_public(const X25519& private_key);
/// nullopt: the public key is one that shares nothing with anybody (a point of low order).
[[nodiscard]] std::optional<X25519> x25519_shared(const X25519& private_key,
                                                  const X25519& public_key);
/// RFC 5869.
[[nodiscard]] Sha256 hkdf_sha256(std::span<const std::byte> key, std::span<const std::byte> salt,
                                 std::string_view info);

/// ChaCha20-Poly1305 (RFC 8439) with one key, without additional data. One thread.
class ChaCha20Poly1305 {
 public:
  static constexpr std::size_t kKeySize = 32;
  static constexpr std::size_t kNonceSize = 12;
  static constexpr std::size_t kTagSize = 16;
  using Nonce = std::array<std::byte, kNonceSize>;

  explicit ChaCha20Poly1305(std::span<const std::byte> key);
  ~ChaCha20Poly1305();
  ChaCha20Poly1305(const ChaCha20Poly1305&) = delete;
  ChaCha20Poly1305& operator=(const ChaCha20Poly1305&) = delete;

  /// Returns the encrypted text, followed by the tag. A nonce must never be used for two texts.
  [[nodiscard]] std::vector<std::byte> seal(const Nonce& nonce, std::span<const std::byte> text);
  /// nullopt: it was not sealed with this key and nonce, or was modified.
  [[nodiscard]] std::optional<std::vector<std::byte>> open(const Nonce& nonce,
                                                           std::span<const std::byte> sealed);

 private:
  struct Free {
    void operator()(evp_cipher_ctx_st* context) const noexcept;
  };
  std::array<std::byte, kKeySize> key_{};
  std::unique_ptr<evp_cipher_ctx_st, Free> context_;
};

/// Overwrites it, so that it is neither in a core file nor in memory that is reused.
void wipe(std::span<std::byte> secret) noexcept;

}  // namespace weir::crypto
