#include "crypto/tls_reader.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "crypto/openssl.h"

namespace weir::crypto {

namespace {

using Shared = std::shared_ptr<TlsReader>;

// OpenSSL cannot handle exceptions: functions called from within it are looked up before.
constexpr std::array<const char*, 7> kCalledWithin = {
    "BIO_get_data",    "BIO_next",      "BIO_read",      "BIO_ctrl",
    "BIO_clear_flags", "BIO_set_flags", "BIO_test_flags"};

int read_through(BIO* bio, char* to, int size) noexcept {
  PGWEIR_CRYPTO(BIO_get_data);
  PGWEIR_CRYPTO(BIO_next);
  PGWEIR_CRYPTO(BIO_clear_flags);
  PGWEIR_CRYPTO(BIO_set_flags);
  call_BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
  if (size <= 0) return 0;
  bool later = false;
  const int count = (*static_cast<Shared*>(call_BIO_get_data(bio)))
                        ->take(call_BIO_next(bio), {to, static_cast<std::size_t>(size)}, later);
  if (later) call_BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
  return count;
}

long control_through(BIO* bio, int command, long number, void* pointer) noexcept {
  PGWEIR_CRYPTO(BIO_next);
  PGWEIR_CRYPTO(BIO_ctrl);
  if (command == BIO_CTRL_PUSH || command == BIO_CTRL_POP || command == BIO_CTRL_DUP) return 0;
  return call_BIO_ctrl(call_BIO_next(bio), command, number, pointer);
}

int destroy(BIO* bio) noexcept {
  PGWEIR_CRYPTO(BIO_get_data);
  delete static_cast<Shared*>(call_BIO_get_data(bio));
  return 1;
}

const BIO_METHOD* method() {
  static BIO_METHOD* const method = [] {
    PGWEIR_CRYPTO(BIO_get_new_index);
    PGWEIR_CRYPTO(BIO_meth_new);
    PGWEIR_CRYPTO(BIO_meth_set_read);
    PGWEIR_CRYPTO(BIO_meth_set_ctrl);
    PGWEIR_CRYPTO(BIO_meth_set_destroy);
    for (const char* function : kCalledWithin) static_cast<void>(find_in_libcrypto(function));
    auto* const made =
        call_BIO_meth_new(call_BIO_get_new_index() | BIO_TYPE_FILTER, "pgweir's reader");
    if (made == nullptr || call_BIO_meth_set_read(made, read_through) != 1 ||
        call_BIO_meth_set_ctrl(made, control_through) != 1 ||
        call_BIO_meth_set_destroy(made, destroy) != 1)
      throw openssl_error("could not read from a TLS connection");
    return made;
  }();
  return method;
}

/// Bytes of an application data record in addition to its content (RFC 8446, 5.2; RFC 5288, 3; RFC
/// 7905, 2).
std::optional<std::size_t> overhead_of(ssl_st* session) {
  PGWEIR_SSL(SSL_version);
  PGWEIR_SSL(SSL_get_current_cipher);
  PGWEIR_SSL(SSL_CIPHER_get_cipher_nid);
  constexpr std::size_t kTag = 16;
  constexpr std::size_t kInnerType = 1;
  constexpr std::size_t kExplicitNonce = 8;
  const auto* const cipher = call_SSL_get_current_cipher(session);
  if (cipher == nullptr) return std::nullopt;
  const int kind = call_SSL_CIPHER_get_cipher_nid(cipher);
  const bool gcm = kind == NID_aes_128_gcm || kind == NID_aes_256_gcm;
  const bool chacha = kind == NID_chacha20_poly1305;
  if (!gcm && !chacha) return std::nullopt;
  const int version = call_SSL_version(session);
  if (version == TLS1_3_VERSION) return kTag + kInnerType;
  if (version == TLS1_2_VERSION) return gcm ? kTag + kExplicitNonce : kTag;
  return std::nullopt;
}

/// A plain socket, which libpq's own kind of BIO is, too.
bool reads_from_a_socket(BIO* bio) {
  PGWEIR_CRYPTO(BIO_method_type);
  PGWEIR_CRYPTO(BIO_next);
  PGWEIR_CRYPTO(BIO_ctrl);
  // If OpenSSL was built without it, the request is unknown: 0.
  constexpr int kKernelDecrypts = 76;  // BIO_CTRL_GET_KTLS_RECV
  return bio != nullptr && (call_BIO_method_type(bio) & BIO_TYPE_DESCRIPTOR) != 0 &&
         call_BIO_next(bio) == nullptr && call_BIO_ctrl(bio, kKernelDecrypts, 0, nullptr) <= 0;
}

}  // namespace

std::shared_ptr<TlsReader> TlsReader::put_into(ssl_st* session) {
  PGWEIR_SSL(SSL_get_rbio);
  PGWEIR_SSL(SSL_set0_rbio);
  PGWEIR_SSL(SSL_has_pending);
  PGWEIR_CRYPTO(BIO_new);
  PGWEIR_CRYPTO(BIO_free);
  PGWEIR_CRYPTO(BIO_up_ref);
  PGWEIR_CRYPTO(BIO_push);
  PGWEIR_CRYPTO(BIO_set_data);
  PGWEIR_CRYPTO(BIO_set_init);
  BIO* const socket = call_SSL_get_rbio(session);
  const auto overhead = overhead_of(session);
  // (With a part of a record read the next bytes would not be a header.)
  if (!overhead || !reads_from_a_socket(socket) || call_SSL_has_pending(session) != 0)
    return nullptr;

  Shared reader(new TlsReader(*overhead));
  auto share = std::make_unique<Shared>(reader);
  BIO* const bio = call_BIO_new(method());
  if (bio == nullptr) throw openssl_error("could not read from a TLS connection");
  call_BIO_set_data(bio, share.release());
  call_BIO_set_init(bio, 1);
  if (call_BIO_up_ref(socket) != 1) {
    call_BIO_free(bio);
    throw openssl_error("could not read from a TLS connection");
  }
  call_BIO_push(bio, socket);
  call_SSL_set0_rbio(session, bio);  // it is the session's now
  return reader;
}

TlsReader::~TlsReader() = default;

bool TlsReader::begin_count(ssl_st* session) {
  PGWEIR_SSL(SSL_has_pending);
  if (begin_ != end_ || header_size_ != 0 || record_left_ != 0 ||
      call_SSL_has_pending(session) != 0)
    return false;
  counted_ = 0;
  return true;
}

std::uint64_t TlsReader::bytes_read_at_most(ssl_st* session) const {
  PGWEIR_SSL(SSL_pending);
  return counted_ - static_cast<std::uint64_t>(call_SSL_pending(session));
}

void TlsReader::gather(bool gathers) {
  gathers_ = gathers;
  drained_ = false;
  if (gathers && !piece_) piece_.reset(new char[kPiece]);
}

bool TlsReader::holds(ssl_st* session) const {
  PGWEIR_SSL(SSL_pending);
  return begin_ != end_ || call_SSL_pending(session) > 0;
}

TlsReader::Read TlsReader::read(ssl_st* session, std::span<std::byte> bytes) {
  PGWEIR_CRYPTO(ERR_clear_error);
  PGWEIR_SSL(SSL_read);
  PGWEIR_SSL(SSL_get_error);
  constexpr std::size_t kMost = std::size_t{1} << 30;
  call_ERR_clear_error();
  const int count =
      call_SSL_read(session, bytes.data(), static_cast<int>(std::min(bytes.size(), kMost)));
  if (count > 0) return {.count = static_cast<std::size_t>(count)};
  const int why = call_SSL_get_error(session, count);
  call_ERR_clear_error();
  return {.ended = why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE};
}

TlsReader::Read TlsReader::look(ssl_st* session, std::byte& byte) {
  PGWEIR_CRYPTO(ERR_clear_error);
  PGWEIR_SSL(SSL_peek);
  PGWEIR_SSL(SSL_get_error);
  call_ERR_clear_error();
  const int count = call_SSL_peek(session, &byte, 1);
  if (count > 0) return {.count = 1};
  const int why = call_SSL_get_error(session, count);
  call_ERR_clear_error();
  return {.ended = why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE};
}

int TlsReader::take(bio_st* below, std::span<char> to, bool& later) noexcept {
  PGWEIR_CRYPTO(BIO_read);
  PGWEIR_CRYPTO(BIO_test_flags);
  const auto read = [&](char* where, std::size_t room) {
    const int count = call_BIO_read(below, where, static_cast<int>(room));
    later = count <= 0 && call_BIO_test_flags(below, BIO_FLAGS_SHOULD_RETRY) != 0;
    return count;
  };
  if (begin_ == end_) {
    if (!gathers_) {
      const int count = read(to.data(), to.size());
      if (count > 0) this->count(to.first(static_cast<std::size_t>(count)));
      return count;
    }
    if (std::exchange(drained_, false)) {
      later = true;
      return -1;
    }
    const int count = read(piece_.get(), kPiece);
    if (count <= 0) return count;
    begin_ = 0;
    end_ = static_cast<std::size_t>(count);
    drained_ = end_ < kPiece;
  }
  const auto there = std::min(end_ - begin_, to.size());
  std::memcpy(to.data(), piece_.get() + begin_, there);
  begin_ += there;
  count(to.first(there));
  return static_cast<int>(there);
}

/// Counts the records passed to OpenSSL, by their headers.
void TlsReader::count(std::span<const char> bytes) noexcept {
  constexpr unsigned char kApplicationData = 23;
  while (!bytes.empty()) {
    if (record_left_ > 0) {
      const auto passed = std::min(record_left_, bytes.size());
      record_left_ -= passed;
      bytes = bytes.subspan(passed);
      continue;
    }
    header_[header_size_++] = static_cast<unsigned char>(bytes.front());
    bytes = bytes.subspan(1);
    if (header_size_ < kHeader) continue;
    header_size_ = 0;
    record_left_ = static_cast<std::size_t>(header_[3]) << 8 | header_[4];
    if (header_[0] == kApplicationData && record_left_ > overhead_)
      counted_ += record_left_ - overhead_;
  }
}

}  // namespace weir::crypto
