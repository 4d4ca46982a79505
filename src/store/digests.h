#pragma once

#include <string>

#include "io/shelf.h"
#include "store/object_store.h"

namespace weir::store {

/// Of what is put into a store, hexadecimal.
struct Digests {
  std::string sha256;
  std::string md5;
};
[[nodiscard]] Digests digests_of(io::Bytes& bytes);

/// These bytes, which have to outlive it, as what is put: with their digests, and without metadata.
[[nodiscard]] Content content_of(io::Bytes& bytes);

}  // namespace weir::store
