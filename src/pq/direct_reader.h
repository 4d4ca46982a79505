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

/// Who reads the socket of a stream, libpq or DirectCopy, and the proof that the change from one to
/// the other loses nothing: DirectCopy takes over only while every byte that was read off the
/// connection belongs to a message that was taken. (A message that libpq keeps for itself makes the
/// sum smaller than the kernel's count for ever, so the proof never holds by mistake.) With TLS it
/// is the same with what all records had, by TlsReader's count. One thread at a time.
class DirectReader {
 public:
  /// START_REPLICATION was sent, and all that was read before is understood: so many bytes, by the
  /// kernel's count. Without this call, or the next, libpq reads for ever.
  void on_command_sent(std::optional<std::uint64_t> read_so_far) { consumed_ = read_so_far; }
  /// The same with TLS: `reader` counts from here on.
  void on_command_sent(TlsCopy::Session session, std::shared_ptr<crypto::TlsReader> reader);
  /// The server's answer was taken: the stream begins.
  void on_copy_began();
  /// libpq gave out a CopyData message with so many bytes in it.
  void on_libpq_message(std::size_t bytes);

  /// More than 1: much is to come, so DirectCopy should read; see ReplicationStream::gather().
  /// (With TLS it reads all that it can: libpq asks the kernel twice for each record.)
  void gather(std::size_t bytes);
  [[nodiscard]] bool wanted() const { return !retired_ && (gathered_ > 1 || tls_); }
  /// From here on libpq is wanted to read, to the stream's end.
  void retire();

  /// DirectCopy reads; libpq must not while within_message().
  [[nodiscard]] bool reading() const { return copy_ != nullptr; }
  [[nodiscard]] bool within_message() const { return copy_ && copy_->within_message(); }
  /// Lets DirectCopy read from here on, if that is wanted and libpq holds nothing of the stream.
  /// Not to be called while reading(). `largest`: as for DirectCopy.
  [[nodiscard]] bool take_over(int socket, std::size_t largest);
  /// While reading(): as DirectCopy::next(). After Found::other libpq reads for the rest of the
  /// stream.
  [[nodiscard]] DirectCopy::Found next(std::span<std::byte> place);
  [[nodiscard]] const DirectCopy& message() const { return *copy_; }
  /// With TLS: another number after somebody has read.
  [[nodiscard]] std::uint64_t mark() const;
  /// Something can be read, whatever the socket has.
  [[nodiscard]] bool holds() const;
  /// The memory of the last message, for a caller that needs the message longer. Empty if the
  /// message is in a place or in libpq's memory, or if a part of the next message has come (nobody
  /// needs the last one then).
  [[nodiscard]] std::vector<std::byte> release_body();
  /// Leaves the connection to libpq, which has to read while holds(). Not within a message.
  void stop();

 private:
  TlsCopy::Session session_;
  std::shared_ptr<crypto::TlsReader> tls_;  ///< nullptr: TCP without it
  std::unique_ptr<DirectCopy> copy_;
  bool retired_ = false;
  std::size_t gathered_ = 1;
  std::optional<std::uint64_t> consumed_;  ///< bytes of the connection up to the last message taken
  int looks_ = 0;                          ///< at whether libpq holds nothing
};

}  // namespace weir::pq
