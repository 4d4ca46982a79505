#pragma once

#include <string>

#include "io/shelf.h"
#include "store/object_store.h"

namespace weir::store {

/// Digests of an uploaded content, hexadecimal.
struct Digests {
  std::string sha256;
  std::string md5;
};
[[nodiscard]] Digests digests_of(io::Bytes& bytes);

/// A content of these bytes, which must outlive it, with their digests and without metadata.
[[nodiscard]] Content content_of(io::Bytes& bytes);

}  // namespace weir::store
