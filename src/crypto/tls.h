#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "crypto/certificates.h"

// OpenSSL's own types, without its headers.
struct ssl_ctx_st;
struct ssl_st;

namespace weir::crypto {

// TLS of the server's side, by OpenSSL: 1.2 and later, without compression, renegotiation, sessions
// that are resumed, and early data. libssl is loaded by the first TlsServer. Bytes in, bytes out:
// no socket, no clock but OpenSSL's own, which checks the validity of certificates.

/// A server's certificate, and the CAs that it trusts. Shared by all its connections, on any
/// thread; immutable.
class TlsServer {
 public:
  struct Files {
    PemFile certificate;                 ///< the server's own, and the intermediate ones up to a CA
    PemFile key;                         ///< without a passphrase
    std::optional<PemFile> authorities;  ///< clients may show a certificate of one of these
  };
  /// `protocol`: the protocol inside (ALPN). A client that offers only others is rejected; a client
  /// that offers none is not. Throws Error{usage} that names the invalid file.
  TlsServer(const Files& files, std::string protocol);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  /// The certificate's hash, to which an exchange can be bound (RFC 5929, tls-server-end-point), by
  /// the digest of its signature. nullopt: the signature has none (Ed25519).
  [[nodiscard]] const std::optional<std::string>& end_point() const { return end_point_; }
  [[nodiscard]] std::chrono::sys_seconds expires() const { return expires_; }
  [[nodiscard]] ssl_ctx_st* context() const { return context_.get(); }

 private:
  struct Free {
    void operator()(ssl_ctx_st* context) const noexcept;
  };
  const std::string protocol_;  ///< the context refers to it
  std::unique_ptr<ssl_ctx_st, Free> context_;
  std::optional<std::string> end_point_;
  std::chrono::sys_seconds expires_{};
};

/// One connection. The peer's data is passed in; output() must be sent to it. The buffered size is
/// bounded by the largest handshake message that OpenSSL accepts (100 kB, a chain of certificates)
/// and by the data passed and written at once. One thread at a time.
class TlsSession {
 public:
  explicit TlsSession(std::shared_ptr<const TlsServer> server);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  void give(std::string_view bytes) { wire_.input.append(bytes); }
  /// To be sent, and removed by the sender; also after a failure.
  [[nodiscard]] std::string& output() { return wire_.output; }

  enum class Progress { more, done, failed };
  /// Proceeds as far as the input allows; before `done` nothing can be read or written.
  [[nodiscard]] Progress shake_hands();
  /// Number of bytes decrypted: 0, more input is required. nullopt: the other side has ended, or
  /// there was an error.
  [[nodiscard]] std::optional<std::size_t> read(std::span<char> bytes);
  /// Encrypts all of it. False: it broke.
  [[nodiscard]] bool write(std::string_view bytes);
  /// Announces the end of the data, if that is still possible.
  void close() noexcept;

  /// The error text.
  [[nodiscard]] const std::string& why() const { return why_; }

  // Once the handshake is done:
  [[nodiscard]] std::string version() const;
  [[nodiscard]] std::string cipher() const;
  /// Secret ones of the cipher.
  [[nodiscard]] int bits() const;
  /// The client has named the protocol that is spoken inside.
  [[nodiscard]] bool protocol_named() const;
  /// The client has shown a certificate; it is valid.
  [[nodiscard]] bool has_certificate() const;
  /// The certificate's subject. nullopt: there is none, or it cannot be used as a name.
  [[nodiscard]] std::optional<std::string> common_name() const;

  /// Input and output, for OpenSSL to read and to write.
  struct Wire {
    std::string input;
    std::size_t taken = 0;  ///< of the input
    std::string output;
  };

 private:
  struct Free {
    void operator()(ssl_st* session) const noexcept;
  };
  /// Returns true if it only needs more input. Otherwise sets the error text, and the session is
  /// broken.
  bool wants_more(int result);

  const std::shared_ptr<const TlsServer> server_;
  Wire wire_;
  std::unique_ptr<ssl_st, Free> session_;
  bool done_ = false;
  bool broken_ = false;
  std::string why_;
};

}  // namespace weir::crypto
