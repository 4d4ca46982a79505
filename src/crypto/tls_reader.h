#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

struct bio_st;  // OpenSSL's BIO
struct ssl_st;  // OpenSSL's SSL

namespace weir::crypto {

/// Reads from the TLS session of a connection that is established by other code (libpq), which
/// reads from it, too. It is inserted between the session and its socket: there it counts the
/// records that pass, so that the maximum number of bytes read by the other code is known, and it
/// reads large pieces from the socket at a time (OpenSSL requests 5 bytes, then the rest of one
/// record). It stays there as long as the session exists. One thread at a time.
class TlsReader {
 public:
  /// Returns nullptr if the overhead of the session's records is unknown (a cipher that is neither
  /// AES-GCM nor ChaCha20-Poly1305), if the session does not read from a socket, or if the kernel
  /// decrypts. The handshake is complete. Throws Error if OpenSSL has no memory, or lacks a
  /// function.
  [[nodiscard]] static std::shared_ptr<TlsReader> put_into(ssl_st* session);
  ~TlsReader();
  TlsReader(const TlsReader&) = delete;
  TlsReader& operator=(const TlsReader&) = delete;

  /// Records are counted from here on. Returns false if one has arrived and is unread, even
  /// partially.
  [[nodiscard]] bool begin_count(ssl_st* session);
  /// The bytes in all records since: what was read can be less (padding, and messages of TLS
  /// itself), and never more.
  [[nodiscard]] std::uint64_t counted() const { return counted_; }
  /// The same without what is decrypted and not read yet.
  [[nodiscard]] std::uint64_t bytes_read_at_most(ssl_st* session) const;

  /// Reads large pieces from the socket; not for callers that poll it without checking holds().
  void gather(bool gathers);
  /// Something can be read though the socket may have nothing.
  [[nodiscard]] bool holds(ssl_st* session) const;

  struct Read {
    std::size_t count = 0;  ///< 0: nothing has arrived, or
    bool ended = false;     ///< nothing more will
  };
  /// Reads the rest of one record, or a part of it.
  [[nodiscard]] Read read(ssl_st* session, std::span<std::byte> bytes);
  /// Returns the next byte without consuming it.
  [[nodiscard]] Read look(ssl_st* session, std::byte& byte);

  /// For OpenSSL: what read(2) would do, -1 being "later" if `later` is set.
  int take(bio_st* below, std::span<char> to, bool& later) noexcept;

 private:
  explicit TlsReader(std::size_t overhead) : overhead_(overhead) {}
  void count(std::span<const char> bytes) noexcept;

  /// Type, version, length.
  static constexpr std::size_t kHeader = 5;
  static constexpr std::size_t kPiece = std::size_t{64} * 1024;

  const std::size_t overhead_;  ///< what a record of data has besides, at least
  std::uint64_t counted_ = 0;
  std::array<unsigned char, kHeader> header_{};
  std::size_t header_size_ = 0;
  std::size_t record_left_ = 0;  ///< of the record whose header has passed

  bool gathers_ = false;
  bool drained_ = false;  ///< the socket had less than requested: it is not read again at once
  std::unique_ptr<char[]> piece_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace weir::crypto
