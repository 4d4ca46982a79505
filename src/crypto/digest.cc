#include "crypto/digest.h"

#include <openssl/evp.h>

#include "crypto/openssl.h"

namespace weir::crypto {

void Digest::Free::operator()(evp_md_ctx_st* context) const noexcept {
  PGWEIR_CRYPTO(EVP_MD_CTX_free);
  call_EVP_MD_CTX_free(context);
}

Digest::Digest(Kind kind) {
  PGWEIR_CRYPTO(EVP_MD_CTX_new);
  PGWEIR_CRYPTO(EVP_sha256);
  PGWEIR_CRYPTO(EVP_sha512);
  PGWEIR_CRYPTO(EVP_md5);
  PGWEIR_CRYPTO(EVP_sha1);
  PGWEIR_CRYPTO(EVP_DigestInit_ex);
  context_.reset(call_EVP_MD_CTX_new());
  const auto* const method = kind == Kind::sha256   ? call_EVP_sha256()
                             : kind == Kind::sha512 ? call_EVP_sha512()
                             : kind == Kind::md5    ? call_EVP_md5()
                                                    : call_EVP_sha1();
  if (context_ == nullptr || call_EVP_DigestInit_ex(context_.get(), method, nullptr) != 1)
    throw openssl_error("could not initialize a digest");
}

Digest::~Digest() = default;

void Digest::add(std::span<const std::byte> bytes) {
  PGWEIR_CRYPTO(EVP_DigestUpdate);
  if (call_EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1)
    throw openssl_error("could not update a digest");
}

std::vector<std::byte> Digest::finish() {
  PGWEIR_CRYPTO(EVP_DigestFinal_ex);
  std::vector<std::byte> digest(EVP_MAX_MD_SIZE);
  unsigned size = 0;
  if (call_EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()),
                              &size) != 1)
    throw openssl_error("could not finish a digest");
  digest.resize(size);
  return digest;
}

std::string to_hex(std::span<const std::byte> bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (const auto byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

std::string digest_of(Digest::Kind kind, std::span<const std::byte> bytes) {
  Digest digest(kind);
  digest.add(bytes);
  return to_hex(digest.finish());
}

std::string digest_of(Digest::Kind kind, std::string_view text) {
  return digest_of(kind, std::as_bytes(std::span(text)));
}

}  // namespace weir::crypto
