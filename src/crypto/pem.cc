#include "crypto/pem.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <string>

#include "base/units.h"
#include "crypto/openssl.h"

namespace weir::crypto {

namespace {

struct FreeBio {
  void operator()(BIO* bio) const noexcept {
    PGWEIR_CRYPTO(BIO_free);
    call_BIO_free(bio);
  }
};
std::unique_ptr<BIO, FreeBio> reader_of(const PemFile& file) {
  PGWEIR_CRYPTO(BIO_new_mem_buf);
  std::unique_ptr<BIO, FreeBio> bio(
      call_BIO_new_mem_buf(file.content.data(), static_cast<int>(file.content.size())));
  if (bio == nullptr) throw openssl_error("could not read a PEM file");
  return bio;
}

/// Does not prompt for a passphrase: there may be no terminal, and a reload must not wait.
int no_passphrase(char*, int, int, void* asked) noexcept {
  *static_cast<bool*>(asked) = true;
  return -1;
}

}  // namespace

void FreeCertificate::operator()(x509_st* certificate) const noexcept {
  PGWEIR_CRYPTO(X509_free);
  call_X509_free(certificate);
}

void FreeKey::operator()(evp_pkey_st* key) const noexcept {
  PGWEIR_CRYPTO(EVP_PKEY_free);
  call_EVP_PKEY_free(key);
}

Error pem_error(const PemFile& file, const std::string& what) {
  return Error(ErrorKind::usage, what).with("path", file.path);
}

std::vector<Certificate> read_certificates(const PemFile& file, const char* cannot) {
  PGWEIR_CRYPTO(ERR_clear_error);
  PGWEIR_CRYPTO(ERR_peek_last_error);
  PGWEIR_CRYPTO(PEM_read_bio_X509);
  const auto bio = reader_of(file);
  std::vector<Certificate> certificates;
  call_ERR_clear_error();
  while (auto* const certificate = call_PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr))
    certificates.emplace_back(certificate);
  const auto code = call_ERR_peek_last_error();
  const bool ended =
      ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
  const auto reason = openssl_reason();
  if (certificates.empty() || !ended)
    throw pem_error(file, std::string(cannot) + ": " + reason)
        .hint("It must be in PEM format (\"-----BEGIN CERTIFICATE-----\").");
  return certificates;
}

Key read_key(const PemFile& file) {
  PGWEIR_CRYPTO(ERR_clear_error);
  PGWEIR_CRYPTO(PEM_read_bio_PrivateKey);
  const auto bio = reader_of(file);
  bool asked = false;
  call_ERR_clear_error();
  Key key(call_PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, &asked));
  if (asked) {
    call_ERR_clear_error();
    return nullptr;
  }
  if (key == nullptr) throw pem_error(file, "could not read the private key: " + openssl_reason());
  return key;
}

std::chrono::sys_seconds expiry_of(X509* certificate) {
  PGWEIR_CRYPTO(X509_get0_notAfter);
  PGWEIR_CRYPTO(ASN1_TIME_to_tm);
  std::tm time{};
  if (call_ASN1_TIME_to_tm(call_X509_get0_notAfter(certificate), &time) != 1)
    throw openssl_error("could not read the expiration date of a certificate");
  return within_system_clock(std::chrono::sys_seconds(std::chrono::seconds(::timegm(&time))));
}

bool belong_together(x509_st* certificate, evp_pkey_st* key) {
  PGWEIR_CRYPTO(X509_check_private_key);
  PGWEIR_CRYPTO(ERR_clear_error);
  const bool fits = call_X509_check_private_key(certificate, key) == 1;
  call_ERR_clear_error();
  return fits;
}

}  // namespace weir::crypto
