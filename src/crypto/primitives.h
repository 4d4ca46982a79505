#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weir::crypto {

inline constexpr std::size_t kSha256Size = 32;
using Sha256 = std::array<std::byte, kSha256Size>;

// By OpenSSL, never our own implementation. libcrypto is loaded by the first call, like libpq: a
// program that needs no cryptography, such as `pgweir restore`, which runs once for each segment,
// does not load it. All functions throw Error{usage} if it is not installed, and Error{io} if it
// fails.

/// Loads the library now, so that a missing library is reported at startup.
void load();

[[nodiscard]] Sha256 sha256(std::span<const std::byte> bytes);
[[nodiscard]] Sha256 hmac_sha256(std::span<const std::byte> key, std::string_view text);
/// The same time whatever they are.
[[nodiscard]] bool equal(const Sha256& one, const Sha256& other);
/// Cryptographically secure random bytes.
void random_bytes(std::span<std::byte> bytes);
/// SCRAM's salted password (RFC 5802, Hi()). The password is used unchanged: SASLprep is not
/// applied.
[[nodiscard]] Sha256 pbkdf2_sha256(std::string_view password, std::span<const std::byte> salt,
                                   unsigned iterations);

}  // namespace weir::crypto
