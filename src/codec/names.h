#pragma once

#include <string_view>

#include "codec/codec.h"

namespace weir::codec {

/// The name of a format in reports: "raw", "gzip", "lz4", "zstd".
[[nodiscard]] std::string_view form_name(Method method);

/// With the method's default level.
[[nodiscard]] Compression usual_compression(Method method);

}  // namespace weir::codec
