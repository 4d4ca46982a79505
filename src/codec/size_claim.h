#pragma once

#include <cstdint>

#include "codec/codec.h"

namespace weir::codec {

/// The content size that a compressed file declares, at its start (gzip: at its end).
enum class SizeClaim {
  fits,     ///< it declares the size, or starts as the output of a Compressor for that size does
  differs,  ///< it declares a different size, or is not such a file: only decompressing it shows
            ///< more
  none,     ///< it declares none: this is optional
};

/// Reads a few bytes without decompressing, so a truncated file may be accepted. A file that is
/// larger than one of its frames (or gzip members) may differ although it is valid. For
/// Method::none the file's size itself decides.
[[nodiscard]] SizeClaim size_claim(Method method, const ReadAt& read_at, std::uint64_t file_size,
                                   std::uint64_t content_size);

}  // namespace weir::codec
