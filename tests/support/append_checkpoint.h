#pragma once

#include <cstdint>
#include <cstring>

#include "support/bytes.h"
#include "support/wal_builder.h"
#include "wal/lsn.h"

namespace weir::testing {

/// A checkpoint as a server writes it: struct CheckPoint, whose first field is the redo position.
/// Returns the start of its record.
inline wal::Lsn append_checkpoint(WalBuilder& wal, wal::Lsn redo) {
  constexpr std::uint8_t kOnline = 0x10;
  test::Bytes body(2 + 88);
  body[0] = std::byte{255};
  body[1] = std::byte{88};
  const auto value = redo.byte();
  std::memcpy(body.data() + 2, &value, sizeof(value));
  return wal.append(0, kOnline, body).start;
}

}  // namespace weir::testing
