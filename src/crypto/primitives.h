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

// OpenSSL's, never our own. libcrypto is loaded by the first call, as libpq is: a program that
// needs no cryptography, as `pgweir restore` does once for each segment, does not load it. All of
// them throw Error{usage} if it is not there, and Error{io} if it fails.

/// Now, so that who needs it later knows at the start that it is there.
void load();

[[nodiscard]] Sha256 sha256(std::span<const std::byte> bytes);
[[nodiscard]] Sha256 hmac_sha256(std::span<const std::byte> key, std::string_view text);
/// The same time whatever they are.
[[nodiscard]] bool equal(const Sha256& one, const Sha256& other);
/// Cryptographically secure random bytes.
void random_bytes(std::span<std::byte> bytes);
/// SCRAM's salted password (RFC 5802, Hi()). The password is taken as it is: SASLprep is not
/// applied.
[[nodiscard]] Sha256 pbkdf2_sha256(std::string_view password, std::span<const std::byte> salt,
                                   unsigned iterations);

}  // namespace weir::crypto
