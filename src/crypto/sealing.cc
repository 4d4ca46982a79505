#include "crypto/sealing.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>  // explicit_bzero

#include <algorithm>
#include <string>

#include "base/error.h"
#include "crypto/openssl.h"
#include "crypto/pem.h"

namespace weir::crypto {

namespace {

struct FreeKeyContext {
  void operator()(EVP_PKEY_CTX* context) const noexcept {
    PGWEIR_CRYPTO(EVP_PKEY_CTX_free);
    call_EVP_PKEY_CTX_free(context);
  }
};

struct FreeKdf {
  void operator()(EVP_KDF* kdf) const noexcept {
    PGWEIR_CRYPTO(EVP_KDF_free);
    call_EVP_KDF_free(kdf);
  }
  void operator()(EVP_KDF_CTX* context) const noexcept {
    PGWEIR_CRYPTO(EVP_KDF_CTX_free);
    call_EVP_KDF_CTX_free(context);
  }
};

Key private_key_of(const X25519& bytes) {
  PGWEIR_CRYPTO(EVP_PKEY_new_raw_private_key);
  Key key(call_EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, raw(bytes), bytes.size()));
  if (!key) throw openssl_error("could not use a private key");
  return key;
}

}  // namespace

X25519 x25519_public(const X25519& private_key) {
  PGWEIR_CRYPTO(EVP_PKEY_get_raw_public_key);
  const auto key = private_key_of(private_key);
  X25519 made{};
  auto size = made.size();
  if (call_EVP_PKEY_get_raw_public_key(key.get(), room(made), &size) != 1 || size != made.size())
    throw openssl_error("could not create a public key");
  return made;
}

std::optional<X25519> x25519_shared(const X25519& private_key, const X25519& public_key) {
  PGWEIR_CRYPTO(EVP_PKEY_new_raw_public_key);
  PGWEIR_CRYPTO(EVP_PKEY_CTX_new);
  PGWEIR_CRYPTO(EVP_PKEY_derive_init);
  PGWEIR_CRYPTO(EVP_PKEY_derive_set_peer);
  PGWEIR_CRYPTO(EVP_PKEY_derive);
  const auto ours = private_key_of(private_key);
  const Key theirs(call_EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, raw(public_key),
                                                    public_key.size()));
  const std::unique_ptr<EVP_PKEY_CTX, FreeKeyContext> context(
      call_EVP_PKEY_CTX_new(ours.get(), nullptr));
  X25519 shared{};
  auto size = shared.size();
  if (!theirs || !context || call_EVP_PKEY_derive_init(context.get()) != 1 ||
      call_EVP_PKEY_derive_set_peer(context.get(), theirs.get()) != 1)
    throw openssl_error("could not initialize a key agreement");
  // OpenSSL itself fails if the result is zero.
  if (call_EVP_PKEY_derive(context.get(), room(shared), &size) != 1 || size != shared.size()) {
    static_cast<void>(openssl_reason());
    return std::nullopt;
  }
  if (std::all_of(shared.begin(), shared.end(),
                  [](std::byte each) { return each == std::byte{0}; }))
    return std::nullopt;
  return shared;
}

Sha256 hkdf_sha256(std::span<const std::byte> key, std::span<const std::byte> salt,
                   std::string_view info) {
  PGWEIR_CRYPTO(EVP_KDF_fetch);
  PGWEIR_CRYPTO(EVP_KDF_CTX_new);
  PGWEIR_CRYPTO(EVP_KDF_derive);
  PGWEIR_CRYPTO(OSSL_PARAM_construct_utf8_string);
  PGWEIR_CRYPTO(OSSL_PARAM_construct_octet_string);
  PGWEIR_CRYPTO(OSSL_PARAM_construct_end);
  const std::unique_ptr<EVP_KDF, FreeKdf> kdf(call_EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const std::unique_ptr<EVP_KDF_CTX, FreeKdf> context(kdf ? call_EVP_KDF_CTX_new(kdf.get())
                                                          : nullptr);
  if (!context) throw openssl_error("HKDF is not available");
  std::string digest = "SHA256";
  std::vector<std::byte> key_copy(key.begin(), key.end());
  std::vector<std::byte> salt_copy(salt.begin(), salt.end());
  std::string info_copy(info);
  std::array<OSSL_PARAM, 5> parameters{};
  std::size_t count = 0;
  parameters[count++] =
      call_OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0);
  parameters[count++] =
      call_OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key_copy.data(), key_copy.size());
  parameters[count++] = call_OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
                                                               info_copy.data(), info_copy.size());
  // RFC 5869: a missing salt is equivalent to zeros.
  if (!salt_copy.empty())
    parameters[count++] = call_OSSL_PARAM_construct_octet_string(
        OSSL_KDF_PARAM_SALT, salt_copy.data(), salt_copy.size());
  parameters[count] = call_OSSL_PARAM_construct_end();
  Sha256 derived{};
  const bool done =
      call_EVP_KDF_derive(context.get(), room(derived), derived.size(), parameters.data()) == 1;
  wipe(key_copy);
  if (!done) throw openssl_error("could not derive a key");
  return derived;
}

void ChaCha20Poly1305::Free::operator()(evp_cipher_ctx_st* context) const noexcept {
  PGWEIR_CRYPTO(EVP_CIPHER_CTX_free);
  call_EVP_CIPHER_CTX_free(context);
}

ChaCha20Poly1305::ChaCha20Poly1305(std::span<const std::byte> key) {
  PGWEIR_CRYPTO(EVP_CIPHER_CTX_new);
  PGWEIR_CHECK(key.size() == key_.size());
  std::copy(key.begin(), key.end(), key_.begin());
  context_.reset(call_EVP_CIPHER_CTX_new());
  if (!context_) throw openssl_error("could not initialize encryption");
}

ChaCha20Poly1305::~ChaCha20Poly1305() { wipe(key_); }

std::vector<std::byte> ChaCha20Poly1305::seal(const Nonce& nonce, std::span<const std::byte> text) {
  PGWEIR_CRYPTO(EVP_chacha20_poly1305);
  PGWEIR_CRYPTO(EVP_EncryptInit_ex);
  PGWEIR_CRYPTO(EVP_EncryptUpdate);
  PGWEIR_CRYPTO(EVP_EncryptFinal_ex);
  PGWEIR_CRYPTO(EVP_CIPHER_CTX_ctrl);
  std::vector<std::byte> sealed(text.size() + kTagSize);
  int size = 0;
  int rest = 0;
  auto* const context = context_.get();
  if (call_EVP_EncryptInit_ex(context, call_EVP_chacha20_poly1305(), nullptr, raw(key_),
                              raw(nonce)) != 1 ||
      call_EVP_EncryptUpdate(context, room(sealed), &size, raw(text),
                             static_cast<int>(text.size())) != 1 ||
      call_EVP_EncryptFinal_ex(context, room(sealed) + size, &rest) != 1 ||
      static_cast<std::size_t>(size) + static_cast<std::size_t>(rest) != text.size() ||
      call_EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(kTagSize),
                               room(sealed) + text.size()) != 1)
    throw openssl_error("could not encrypt");
  return sealed;
}

std::optional<std::vector<std::byte>> ChaCha20Poly1305::open(const Nonce& nonce,
                                                             std::span<const std::byte> sealed) {
  PGWEIR_CRYPTO(EVP_chacha20_poly1305);
  PGWEIR_CRYPTO(EVP_DecryptInit_ex);
  PGWEIR_CRYPTO(EVP_DecryptUpdate);
  PGWEIR_CRYPTO(EVP_DecryptFinal_ex);
  PGWEIR_CRYPTO(EVP_CIPHER_CTX_ctrl);
  if (sealed.size() < kTagSize) return std::nullopt;
  const auto text = sealed.first(sealed.size() - kTagSize);
  std::vector<std::byte> tag(sealed.end() - kTagSize, sealed.end());
  std::vector<std::byte> opened(text.size() + 1);  // a place even for nothing
  int size = 0;
  int rest = 0;
  auto* const context = context_.get();
  if (call_EVP_DecryptInit_ex(context, call_EVP_chacha20_poly1305(), nullptr, raw(key_),
                              raw(nonce)) != 1 ||
      call_EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(kTagSize),
                               tag.data()) != 1 ||
      call_EVP_DecryptUpdate(context, room(opened), &size, raw(text),
                             static_cast<int>(text.size())) != 1)
    throw openssl_error("could not decrypt");
  if (call_EVP_DecryptFinal_ex(context, room(opened) + size, &rest) != 1) {
    static_cast<void>(openssl_reason());
    wipe(opened);
    return std::nullopt;
  }
  opened.resize(text.size());
  return opened;
}

void wipe(std::span<std::byte> secret) noexcept { ::explicit_bzero(secret.data(), secret.size()); }

}  // namespace weir::crypto
