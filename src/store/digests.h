#pragma once

#include <string>

#include "io/shelf.h"

namespace weir::store {

/// Of what is put into a store, hexadecimal.
struct Digests {
  std::string sha256;
  std::string md5;
};
[[nodiscard]] Digests digests_of(io::Bytes& bytes);

}  // namespace weir::store
