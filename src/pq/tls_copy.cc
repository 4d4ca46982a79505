// With TLS the same session is read alongside libpq (`pq/tls_copy`, `crypto/tls_reader`), from the
// first message on and also when caught up: OpenSSL calls the kernel twice for each record of 8 kB,
// libpq reads one record per iteration. A filter between the session and libpq's own socket reads
// takes 64 kB at a time, and uses the record headers to count what OpenSSL can have decrypted at
// most. If that equals the messages taken, libpq holds nothing. (Padding, tickets and the like make
// it unequal, and then libpq reads forever. libpq also reads sessions with ciphers whose records do
// not reveal their content's length, and sessions that the kernel decrypts.) A message may be taken
// in pieces, since decrypted bytes cannot be put back; libpq reads nothing until it is complete.
// The first byte of each message is inspected before it is taken: other messages are left to libpq,
// which then reads the bytes already taken off the socket before it waits for more. Handshake,
// certificates and writing stay with libpq.

#include "pq/tls_copy.h"

#include <algorithm>
#include <utility>

namespace weir::pq {

TlsCopy::TlsCopy(int socket, Session session, std::shared_ptr<crypto::TlsReader> reader,
                 std::size_t largest)
    : DirectCopy(socket, largest), session_(std::move(session)), reader_(std::move(reader)) {
  reader_->gather(true);
}

TlsCopy::~TlsCopy() { reader_->gather(false); }

DirectCopy::Found TlsCopy::next(std::span<std::byte> place) {
  ssl_st* const session = session_();
  if (session == nullptr) return within_message() ? Found::lost : Found::other;
  if (taken_ == 0)
    if (const auto found = begin(session); found != Found::message) return found;
  if (taken_ < kEnvelope) {
    const auto found = fill(session, std::span(front_).first(kEnvelope));
    if (found != Found::message) return found;
    measure_message();
    body_ = {};
  }
  if (taken_ < front_size_) {
    const auto found = fill(session, std::span(front_).first(front_size_));
    if (found != Found::message) return found;
  }
  // The first part may be in our own memory, and the rest goes to `place`.
  const auto before = body_.first(std::min(body_.size(), taken_ - front_size_));
  choose_body(place);
  if (before.data() != body_.data()) std::copy(before.begin(), before.end(), body_.begin());
  while (taken_ < size_) {
    const auto got = reader_->read(session, body_.subspan(taken_ - front_size_));
    if (got.ended) return Found::lost;
    if (got.count == 0) {
      leave_place(taken_ - front_size_);
      return leave(1);
    }
    taken_ += got.count;
  }
  taken_ = 0;
  return Found::message;
}

/// Returns Found::message if the next one is CopyData.
DirectCopy::Found TlsCopy::begin(ssl_st* session) {
  std::byte type{};
  const auto seen = reader_->look(session, type);
  if (seen.ended) return Found::other;
  if (seen.count == 0) return leave(1);
  return type == std::byte{'d'} ? Found::message : Found::other;
}

/// Returns Found::message if the front has all of `bytes`, of which it is the start.
DirectCopy::Found TlsCopy::fill(ssl_st* session, std::span<std::byte> bytes) {
  while (taken_ < bytes.size()) {
    const auto got = reader_->read(session, bytes.subspan(taken_));
    if (got.ended) return Found::lost;
    if (got.count == 0) return leave(1);
    taken_ += got.count;
  }
  return Found::message;
}

}  // namespace weir::pq
