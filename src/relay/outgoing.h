#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "relay/wal_piece.h"

namespace weir::relay {

/// The data to be sent to a client: messages as text, and pieces of WAL, which are not copied. In
/// the order in which they were added.
class Outgoing {
 public:
  /// To be appended to, only.
  [[nodiscard]] std::string& text();
  void append(WalPiece piece);

  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] std::size_t size() const;
  /// From the front, consecutive, as many as one call takes; the rest of these is empty. Valid
  /// until the next change.
  using Parts = std::array<std::string_view, 12>;
  [[nodiscard]] Parts parts() const;
  /// In one: a copy.
  [[nodiscard]] std::string all() const;
  /// Removes `count` bytes from the front, which were sent.
  void drop(std::size_t count);

 private:
  struct Part {
    std::string text;
    WalPiece piece{};  ///< after it; empty: none, as yet
  };
  static std::string_view view(const WalPiece& piece);

  std::deque<Part> parts_;
};

}  // namespace weir::relay
