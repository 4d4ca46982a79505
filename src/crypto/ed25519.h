#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace weir::crypto {

// Ed25519 (RFC 8032). OpenSSL's, as in primitives.h, and the same errors.

/// The private key: 32 bytes by chance.
using Ed25519Seed = std::array<std::byte, 32>;
using Ed25519Public = std::array<std::byte, 32>;
using Ed25519Signature = std::array<std::byte, 64>;

[[nodiscard]] Ed25519Public ed25519_public(const Ed25519Seed& seed);
[[nodiscard]] Ed25519Signature ed25519_sign(const Ed25519Seed& seed,
                                            std::span<const std::byte> message);
/// False: not by this key, or not of this message.
[[nodiscard]] bool ed25519_verify(const Ed25519Public& key, std::span<const std::byte> message,
                                  const Ed25519Signature& signature);

}  // namespace weir::crypto
