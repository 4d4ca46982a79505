#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "crypto/certificates.h"

// OpenSSL's own types, without its headers.
struct evp_pkey_st;
struct x509_st;

namespace weir::crypto {

// Certificates and keys in PEM format, for the files of this directory.

struct FreeCertificate {
  void operator()(x509_st* certificate) const noexcept;
};
struct FreeKey {
  void operator()(evp_pkey_st* key) const noexcept;
};
using Certificate = std::unique_ptr<x509_st, FreeCertificate>;
using Key = std::unique_ptr<evp_pkey_st, FreeKey>;

/// Error{usage} about that file.
[[nodiscard]] Error pem_error(const PemFile& file, const std::string& what);

/// Returns all certificates in the file, at least one. `cannot`: the error text if there is none.
/// Throws Error{usage}.
[[nodiscard]] std::vector<Certificate> read_certificates(const PemFile& file, const char* cannot);

/// Returns nullptr if a passphrase protects it. There is no prompt: there may be no terminal, and
/// nothing may wait for it. Throws Error{usage}.
[[nodiscard]] Key read_key(const PemFile& file);

[[nodiscard]] std::chrono::sys_seconds expiry_of(x509_st* certificate);
[[nodiscard]] bool belong_together(x509_st* certificate, evp_pkey_st* key);

}  // namespace weir::crypto
