#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/sealing.h"

namespace weir::store {

// Keys as age writes them (age-encryption.org/v1, C2SP "age"): Bech32 of an X25519 key.

/// "age1…": a public key that files are encrypted to. A value.
struct AgeRecipient {
  crypto::X25519 point{};

  /// Returns nullopt if it is not a recipient.
  [[nodiscard]] static std::optional<AgeRecipient> parse(std::string_view text);
  bool operator==(const AgeRecipient&) const = default;
};

/// "AGE-SECRET-KEY-1…": the secret key. Wiped on destruction.
class AgeIdentity {
 public:
  explicit AgeIdentity(const crypto::X25519& key) : key_(key) {}
  AgeIdentity(const AgeIdentity&) = default;
  AgeIdentity& operator=(const AgeIdentity&) = default;
  ~AgeIdentity() { crypto::wipe(key_); }

  /// Returns nullopt if it is not an identity.
  [[nodiscard]] static std::optional<AgeIdentity> parse(std::string_view text);

  [[nodiscard]] const crypto::X25519& key() const { return key_; }
  [[nodiscard]] AgeRecipient recipient() const { return {crypto::x25519_public(key_)}; }

 private:
  crypto::X25519 key_;
};

/// Parses age's key files: one key in each line; empty lines and comments ("# …") are skipped.
/// `source` is for messages, which do not quote the text. Throws Error{usage} for an invalid line,
/// and if there is no key.
[[nodiscard]] std::vector<AgeRecipient> parse_recipients(std::string_view text,
                                                         const std::string& source);
[[nodiscard]] std::vector<AgeIdentity> parse_identities(std::string_view text,
                                                        const std::string& source);

}  // namespace weir::store
