#pragma once

#include <cstdint>

#include "codec/codec.h"

namespace weir::codec {

/// What a compressed file says of the size of its content, at its front (gzip: at its end).
enum class SizeClaim {
  fits,     ///< it says the size, or begins as a Compressor of so much makes it
  differs,  ///< it declares a different size, or is not such a file: only decompressing it shows
            ///< more
  none,     ///< it says nothing: its writer need not
};

/// Reads a few bytes and unpacks nothing, so a file that was cut may fit all the same. A file that
/// is larger than one of its frames (or gzip members) may differ and be right all the same. For
/// Method::none the file's size itself decides.
[[nodiscard]] SizeClaim size_claim(Method method, const ReadAt& read_at, std::uint64_t file_size,
                                   std::uint64_t content_size);

}  // namespace weir::codec
