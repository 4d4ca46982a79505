#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/ed25519.h"
#include "crypto/sealing.h"

namespace weir::store {

// Keys and signatures as signify(1) writes them: a line of comment, and one of Base64. So "signify
// -V" checks what is signed here, without pgweir. The cryptography is OpenSSL's.

/// Which of several keys it is: eight bytes by chance, no secret.
using SignifyNumber = std::array<std::byte, 8>;
[[nodiscard]] std::string to_string(const SignifyNumber& number);

/// What checks signatures. A value; public.
struct SignifyPublic {
  SignifyNumber number{};
  crypto::Ed25519Public key{};
  bool operator==(const SignifyPublic&) const = default;

  /// nullopt: it is no such file.
  [[nodiscard]] static std::optional<SignifyPublic> parse(std::string_view text);
  [[nodiscard]] std::string to_text() const;
};

/// What signs. Wiped when it goes.
class SignifyKey {
 public:
  SignifyKey(const SignifyNumber& number, const crypto::Ed25519Seed& seed)
      : number_(number), seed_(seed) {}
  SignifyKey(const SignifyKey&) = default;
  SignifyKey& operator=(const SignifyKey&) = default;
  ~SignifyKey() { crypto::wipe(seed_); }

  /// A new one, by chance.
  [[nodiscard]] static SignifyKey make();
  /// `source` is for messages, which say nothing of what stands there. Throws Error{usage} for what
  /// is no such key, and for one with a passphrase.
  [[nodiscard]] static SignifyKey parse(std::string_view text, const std::string& source);
  [[nodiscard]] std::string to_text() const;

  [[nodiscard]] SignifyPublic public_key() const {
    return {number_, crypto::ed25519_public(seed_)};
  }
  [[nodiscard]] const crypto::Ed25519Seed& seed() const { return seed_; }
  /// The text with its signature in front ("signify -S -e"). The text ends with a new line.
  [[nodiscard]] std::string sign(std::string_view text) const;

 private:
  SignifyNumber number_;
  crypto::Ed25519Seed seed_;
};

/// A signature and what it is of.
struct SignedText {
  SignifyNumber number{};
  crypto::Ed25519Signature signature{};
  std::string_view text;  ///< part of what was parsed

  /// nullopt: there is no signature in front.
  [[nodiscard]] static std::optional<SignedText> parse(std::string_view content);
  [[nodiscard]] bool is_by(const SignifyPublic& key) const;
};

}  // namespace weir::store
