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

/// "age1…": whom a file is encrypted to. A value; public.
struct AgeRecipient {
  crypto::X25519 point{};

  /// nullopt: it is none.
  [[nodiscard]] static std::optional<AgeRecipient> parse(std::string_view text);
  bool operator==(const AgeRecipient&) const = default;
};

/// "AGE-SECRET-KEY-1…": what reads it. Wiped when it goes.
class AgeIdentity {
 public:
  explicit AgeIdentity(const crypto::X25519& key) : key_(key) {}
  AgeIdentity(const AgeIdentity&) = default;
  AgeIdentity& operator=(const AgeIdentity&) = default;
  ~AgeIdentity() { crypto::wipe(key_); }

  /// nullopt: it is none.
  [[nodiscard]] static std::optional<AgeIdentity> parse(std::string_view text);

  [[nodiscard]] const crypto::X25519& key() const { return key_; }
  [[nodiscard]] AgeRecipient recipient() const { return {crypto::x25519_public(key_)}; }

 private:
  crypto::X25519 key_;
};

/// What age's files of keys hold: one in each line, empty lines and comments ("# …") between.
/// `source` is for messages, which say nothing of what stands there. Throws Error{usage} for a line
/// that is something else, and where there is no key.
[[nodiscard]] std::vector<AgeRecipient> parse_recipients(std::string_view text,
                                                         const std::string& source);
[[nodiscard]] std::vector<AgeIdentity> parse_identities(std::string_view text,
                                                        const std::string& source);

}  // namespace weir::store
