#include "relay/outgoing.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace weir::relay {

std::string& Outgoing::text() {
  if (parts_.empty() || !parts_.back().piece.empty()) parts_.emplace_back();
  return parts_.back().text;
}

void Outgoing::append(WalPiece piece) {
  static_cast<void>(text());
  parts_.back().piece = std::move(piece);
}

std::size_t Outgoing::size() const {
  std::size_t size = 0;
  for (const auto& part : parts_) size += part.text.size() + part.piece.wal.size();
  return size;
}

std::string_view Outgoing::view(const WalPiece& piece) {
  return {reinterpret_cast<const char*>(piece.wal.data()), piece.wal.size()};
}

Outgoing::Parts Outgoing::parts() const {
  Parts parts;
  auto next = parts.begin();
  for (const auto& part : parts_) {
    if (next == parts.end()) break;
    *next++ = part.text;
    *next++ = view(part.piece);
  }
  return parts;
}

std::string Outgoing::all() const {
  std::string all;
  all.reserve(size());
  for (const auto& part : parts_) all.append(part.text).append(view(part.piece));
  return all;
}

void Outgoing::drop(std::size_t count) {
  while (!parts_.empty()) {
    auto& [text, piece] = parts_.front();
    const auto of_text = std::min(count, text.size());
    text.erase(0, of_text);
    count -= of_text;
    const auto of_piece = std::min(count, piece.wal.size());
    piece.wal = piece.wal.subspan(of_piece);
    count -= of_piece;
    if (!text.empty() || !piece.empty()) break;
    parts_.pop_front();
  }
  PGWEIR_CHECK(count == 0);
}

}  // namespace weir::relay
