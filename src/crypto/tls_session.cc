// TLS is a machine, too (`crypto::TlsSession`): OpenSSL reads and writes memory through pgweir's
// BIO, and never sees a socket. Sockets therefore stay in `net/`, deadlines and slow clients are
// handled as without TLS, and buffers are limited: 64 kB are encrypted at a time, and only when the
// socket has accepted the previous data (`relay::TlsStream`). Listener and sessions use
// `net::Stream`, plain or not. `EntranceState` decides when a handshake starts and discards earlier
// plain text: bytes after the request for TLS are rejected, never treated as if received inside
// TLS. The handshake runs on the listener's single thread and under its deadline. A private key
// operation takes a millisecond, so a flood of handshakes delays new clients, but no established
// session.

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "crypto/openssl.h"
#include "crypto/tls.h"

namespace weir::crypto {

namespace {

TlsSession::Wire& wire_of(BIO* bio) {
  PGWEIR_CRYPTO(BIO_get_data);
  return *static_cast<TlsSession::Wire*>(call_BIO_get_data(bio));
}

// OpenSSL cannot handle exceptions: functions called here are looked up before.

int read_wire(BIO* bio, char* to, int size) noexcept {
  PGWEIR_CRYPTO(BIO_clear_flags);
  PGWEIR_CRYPTO(BIO_set_flags);
  call_BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
  auto& wire = wire_of(bio);
  const auto count = std::min(wire.input.size() - wire.taken, static_cast<std::size_t>(size));
  if (count == 0) {
    call_BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
    return -1;
  }
  std::memcpy(to, wire.input.data() + wire.taken, count);
  wire.taken += count;
  if (wire.taken == wire.input.size()) {
    wire.input.clear();
    wire.taken = 0;
  }
  return static_cast<int>(count);
}

int write_wire(BIO* bio, const char* bytes, int size) noexcept {
  PGWEIR_CRYPTO(BIO_clear_flags);
  call_BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
  try {
    wire_of(bio).output.append(bytes, static_cast<std::size_t>(size));
  } catch (const std::bad_alloc&) {
    return -1;
  }
  return size;
}

/// It is always flushed; all other BIO controls are unsupported.
long control_wire(BIO*, int command, long, void*) noexcept {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* wire_method() {
  static BIO_METHOD* const method = [] {
    PGWEIR_CRYPTO(BIO_get_new_index);
    PGWEIR_CRYPTO(BIO_meth_new);
    PGWEIR_CRYPTO(BIO_meth_set_read);
    PGWEIR_CRYPTO(BIO_meth_set_write);
    PGWEIR_CRYPTO(BIO_meth_set_ctrl);
    auto* const made = call_BIO_meth_new(call_BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pgweir");
    if (made == nullptr || call_BIO_meth_set_read(made, read_wire) != 1 ||
        call_BIO_meth_set_write(made, write_wire) != 1 ||
        call_BIO_meth_set_ctrl(made, control_wire) != 1)
      throw openssl_error("could not establish a TLS connection");
    return made;
  }();
  return method;
}

BIO* make_bio(TlsSession::Wire& wire) {
  PGWEIR_CRYPTO(BIO_new);
  PGWEIR_CRYPTO(BIO_set_data);
  PGWEIR_CRYPTO(BIO_set_init);
  // Functions that are called from within OpenSSL.
  for (const char* function : {"BIO_get_data", "BIO_clear_flags", "BIO_set_flags"})
    static_cast<void>(find_in_libcrypto(function));
  auto* const bio = call_BIO_new(wire_method());
  if (bio == nullptr) throw openssl_error("could not establish a TLS connection");
  call_BIO_set_data(bio, &wire);
  call_BIO_set_init(bio, 1);
  return bio;
}

struct FreeCertificate {
  void operator()(X509* certificate) const noexcept {
    PGWEIR_CRYPTO(X509_free);
    call_X509_free(certificate);
  }
};
std::unique_ptr<X509, FreeCertificate> certificate_of(const ssl_st* session) {
  PGWEIR_SSL(SSL_get1_peer_certificate);
  return std::unique_ptr<X509, FreeCertificate>(call_SSL_get1_peer_certificate(session));
}

}  // namespace

void TlsSession::Free::operator()(ssl_st* session) const noexcept {
  PGWEIR_SSL(SSL_free);
  call_SSL_free(session);
}

TlsSession::TlsSession(std::shared_ptr<const TlsServer> server) : server_(std::move(server)) {
  PGWEIR_SSL(SSL_new);
  PGWEIR_SSL(SSL_set_bio);
  PGWEIR_SSL(SSL_set_accept_state);
  session_.reset(call_SSL_new(server_->context()));
  if (session_ == nullptr) throw openssl_error("could not establish a TLS connection");
  auto* const bio = make_bio(wire_);
  call_SSL_set_bio(session_.get(), bio, bio);  // it is the session's now
  call_SSL_set_accept_state(session_.get());
}

TlsSession::~TlsSession() = default;

TlsSession::Progress TlsSession::shake_hands() {
  PGWEIR_CRYPTO(ERR_clear_error);
  PGWEIR_SSL(SSL_do_handshake);
  if (done_) return Progress::done;
  if (broken_) return Progress::failed;
  call_ERR_clear_error();
  const int result = call_SSL_do_handshake(session_.get());
  if (result == 1) {
    done_ = true;
    return Progress::done;
  }
  return wants_more(result) ? Progress::more : Progress::failed;
}

std::optional<std::size_t> TlsSession::read(std::span<char> bytes) {
  PGWEIR_CRYPTO(ERR_clear_error);
  PGWEIR_SSL(SSL_read);
  if (!done_ || broken_) return std::nullopt;
  call_ERR_clear_error();
  const int count = call_SSL_read(session_.get(), bytes.data(), static_cast<int>(bytes.size()));
  if (count > 0) return static_cast<std::size_t>(count);
  if (wants_more(count)) return 0;
  return std::nullopt;
}

bool TlsSession::write(std::string_view bytes) {
  PGWEIR_CRYPTO(ERR_clear_error);
  PGWEIR_SSL(SSL_write);
  if (!done_ || broken_) return false;
  if (bytes.empty()) return true;
  call_ERR_clear_error();
  const int count = call_SSL_write(session_.get(), bytes.data(), static_cast<int>(bytes.size()));
  if (count == static_cast<int>(bytes.size())) return true;
  // It never has to wait: its output is always accepted, and it does not renegotiate.
  static_cast<void>(wants_more(count));
  broken_ = true;
  return false;
}

void TlsSession::close() noexcept {
  // Behind a fatal error it must not be called (SSL_shutdown(3)).
  if (!done_ || broken_) return;
  broken_ = true;
  try {
    PGWEIR_CRYPTO(ERR_clear_error);
    PGWEIR_SSL(SSL_shutdown);
    call_ERR_clear_error();
    static_cast<void>(call_SSL_shutdown(session_.get()));
  } catch (const std::exception&) {
    return;  // the connection ends silently
  }
}

bool TlsSession::wants_more(int result) {
  PGWEIR_SSL(SSL_get_error);
  PGWEIR_SSL(SSL_get_verify_result);
  PGWEIR_CRYPTO(X509_verify_cert_error_string);
  const int error = call_SSL_get_error(session_.get(), result);
  if (error == SSL_ERROR_WANT_READ) return true;
  broken_ = true;
  if (error == SSL_ERROR_ZERO_RETURN) {
    why_ = "the client has closed the TLS connection";
    return false;
  }
  why_ = openssl_reason();
  // "certificate verify failed" does not contain the reason.
  if (const long verified = call_SSL_get_verify_result(session_.get()); verified != X509_V_OK) {
    why_ += ": ";
    why_ += call_X509_verify_cert_error_string(verified);
  }
  return false;
}

std::string TlsSession::version() const {
  PGWEIR_SSL(SSL_get_version);
  return call_SSL_get_version(session_.get());
}

std::string TlsSession::cipher() const {
  PGWEIR_SSL(SSL_get_current_cipher);
  PGWEIR_SSL(SSL_CIPHER_get_name);
  return call_SSL_CIPHER_get_name(call_SSL_get_current_cipher(session_.get()));
}

int TlsSession::bits() const {
  PGWEIR_SSL(SSL_get_current_cipher);
  PGWEIR_SSL(SSL_CIPHER_get_bits);
  return call_SSL_CIPHER_get_bits(call_SSL_get_current_cipher(session_.get()), nullptr);
}

bool TlsSession::protocol_named() const {
  PGWEIR_SSL(SSL_get0_alpn_selected);
  const unsigned char* name = nullptr;
  unsigned size = 0;
  call_SSL_get0_alpn_selected(session_.get(), &name, &size);
  return size > 0;
}

bool TlsSession::has_certificate() const {
  PGWEIR_SSL(SSL_get_verify_result);
  // An invalid one has ended the handshake; it is checked once more.
  return certificate_of(session_.get()) != nullptr &&
         call_SSL_get_verify_result(session_.get()) == X509_V_OK;
}

std::optional<std::string> TlsSession::common_name() const {
  PGWEIR_CRYPTO(X509_get_subject_name);
  PGWEIR_CRYPTO(X509_NAME_get_index_by_NID);
  PGWEIR_CRYPTO(X509_NAME_get_entry);
  PGWEIR_CRYPTO(X509_NAME_ENTRY_get_data);
  PGWEIR_CRYPTO(ASN1_STRING_to_UTF8);
  PGWEIR_CRYPTO(CRYPTO_free);
  if (!has_certificate()) return std::nullopt;
  const auto certificate = certificate_of(session_.get());
  auto* const subject = call_X509_get_subject_name(certificate.get());
  const int at = call_X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return std::nullopt;
  unsigned char* text = nullptr;
  const int size = call_ASN1_STRING_to_UTF8(
      &text, call_X509_NAME_ENTRY_get_data(call_X509_NAME_get_entry(subject, at)));
  if (size < 0) return std::nullopt;
  std::string name(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
  call_CRYPTO_free(text, __FILE__, __LINE__);
  // "repl\0.example.org" is not "repl" (CVE-2009-4034).
  if (name.find('\0') != std::string::npos) return std::nullopt;
  return name;
}

}  // namespace weir::crypto
