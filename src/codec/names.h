#pragma once

#include <string_view>

#include "codec/codec.h"

namespace weir::codec {

/// The word for a form in reports: "raw", "gzip", "lz4", "zstd".
[[nodiscard]] std::string_view form_name(Method method);

/// With the level that the method has where none is given.
[[nodiscard]] Compression usual_compression(Method method);

}  // namespace weir::codec
