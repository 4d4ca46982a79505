#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "pq/direct_copy.h"
#include "pq/tls_copy.h"

namespace weir::pq {

/// Decides whether libpq or DirectCopy reads the socket of a stream, and ensures that switching
/// loses nothing: DirectCopy takes over only while every byte read from the connection belongs to a
/// message that was processed. (A message that libpq keeps for itself makes the sum smaller than
/// the kernel's count forever, so the condition is never met by mistake.) With TLS, TlsReader's
/// count of the contents of all records is used. One thread at a time.
class DirectReader {
 public:
  /// START_REPLICATION was sent, and everything read before was processed; `read_so_far` is the
  /// kernel's count. Without this call, or the next, libpq always reads.
  void on_command_sent(std::optional<std::uint64_t> read_so_far) { consumed_ = read_so_far; }
  /// The same with TLS: `reader` counts from here on.
  void on_command_sent(TlsCopy::Session session, std::shared_ptr<crypto::TlsReader> reader);
  /// The server's answer was processed: the stream starts.
  void on_copy_began();
  /// libpq returned a CopyData message of this size.
  void on_libpq_message(std::size_t bytes);

  /// More than 1: much data is expected, so DirectCopy should read; see
  /// ReplicationStream::gather(). (With TLS it always reads if possible: libpq makes two system
  /// calls for each record.)
  void gather(std::size_t bytes);
  [[nodiscard]] bool wanted() const { return !retired_ && (gathered_ > 1 || tls_); }
  /// From now on libpq should read, to the end of the stream.
  void retire();

  /// DirectCopy reads; libpq must not while within_message().
  [[nodiscard]] bool reading() const { return copy_ != nullptr; }
  [[nodiscard]] bool within_message() const { return copy_ && copy_->within_message(); }
  /// Lets DirectCopy read from now on, if requested and if libpq has buffered nothing of the
  /// stream. Must not be called while reading(). `largest`: as for DirectCopy.
  [[nodiscard]] bool take_over(int socket, std::size_t largest);
  /// Only while reading(): like DirectCopy::next(). After Found::other libpq reads the rest of the
  /// stream.
  [[nodiscard]] DirectCopy::Found next(std::span<std::byte> place);
  [[nodiscard]] const DirectCopy& message() const { return *copy_; }
  /// With TLS: changes after each read.
  [[nodiscard]] std::uint64_t mark() const;
  /// Data can be read even if the socket is not readable.
  [[nodiscard]] bool holds() const;
  /// The memory of the last message, for a caller that needs it longer. Empty if the message is in
  /// a `place` or in libpq's memory, or if a part of the next message was read (the last one is no
  /// longer needed then).
  [[nodiscard]] std::vector<std::byte> release_body();
  /// Returns the connection to libpq, which must read while holds(). Not within a message. The last
  /// message stays valid until the next one is read: another thread may have caused this, while the
  /// reader still uses it.
  void stop();

 private:
  TlsCopy::Session session_;
  std::shared_ptr<crypto::TlsReader> tls_;  ///< nullptr: TCP without TLS
  std::unique_ptr<DirectCopy> copy_;
  std::vector<std::byte> last_body_;  ///< of a copy_ that has ended
  bool retired_ = false;
  std::size_t gathered_ = 1;
  std::optional<std::uint64_t> consumed_;  ///< bytes of the connection up to the last processed
                                           ///< message
  int looks_ = 0;                          ///< number of checks whether libpq has buffered nothing
};

}  // namespace weir::pq
