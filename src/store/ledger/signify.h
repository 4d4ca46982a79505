#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/ed25519.h"
#include "crypto/sealing.h"

namespace weir::store {

// Keys and signatures in the format of signify(1): a comment line, and a line of Base64. So
// "signify -V" can verify these signatures without pgweir. The cryptography is OpenSSL's.

/// Key number: eight random bytes, not secret.
using SignifyNumber = std::array<std::byte, 8>;
[[nodiscard]] std::string to_string(const SignifyNumber& number);

/// A public key. A value.
struct SignifyPublic {
  SignifyNumber number{};
  crypto::Ed25519Public key{};
  bool operator==(const SignifyPublic&) const = default;

  /// Returns nullopt if it is not such a file.
  [[nodiscard]] static std::optional<SignifyPublic> parse(std::string_view text);
  [[nodiscard]] std::string to_text() const;
};

/// A secret key. Wiped on destruction.
class SignifyKey {
 public:
  SignifyKey(const SignifyNumber& number, const crypto::Ed25519Seed& seed)
      : number_(number), seed_(seed) {}
  SignifyKey(const SignifyKey&) = default;
  SignifyKey& operator=(const SignifyKey&) = default;
  ~SignifyKey() { crypto::wipe(seed_); }

  /// A new random key.
  [[nodiscard]] static SignifyKey make();
  /// `source` is for messages, which do not quote the text. Throws Error{usage} if it is not a key,
  /// or has a passphrase.
  [[nodiscard]] static SignifyKey parse(std::string_view text, const std::string& source);
  [[nodiscard]] std::string to_text() const;

  [[nodiscard]] SignifyPublic public_key() const {
    return {number_, crypto::ed25519_public(seed_)};
  }
  [[nodiscard]] const crypto::Ed25519Seed& seed() const { return seed_; }
  /// The text after its signature ("signify -S -e"). The text must end with a newline.
  [[nodiscard]] std::string sign(std::string_view text) const;

 private:
  SignifyNumber number_;
  crypto::Ed25519Seed seed_;
};

/// What proves the lines that this key signs, and those that former keys of it have signed; empty
/// without a key: then nothing is proved.
[[nodiscard]] std::vector<SignifyPublic> proofs_of(const std::shared_ptr<const SignifyKey>& key,
                                                   std::span<const SignifyPublic> former = {});

/// A signature and the signed text.
struct SignedText {
  SignifyNumber number{};
  crypto::Ed25519Signature signature{};
  std::string_view text;  ///< part of what was parsed

  /// Returns nullopt if the content does not start with a signature.
  [[nodiscard]] static std::optional<SignedText> parse(std::string_view content);
  [[nodiscard]] bool is_by(const SignifyPublic& key) const;
};

}  // namespace weir::store
