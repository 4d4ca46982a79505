#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "codec/codec.h"
#include "io/directory.h"

namespace weir::archive {

/// Hands on the raw content of `file`, compressed by `method`, in pieces from the front. `want`
/// returns false when it has enough: then the rest is not read, and false is returned. Throws
/// Error{io}; Error{damage} if the compressed form is broken or ends early. Both name `path`.
bool read_content(io::File& file, codec::Method method, const std::string& path,
                  const std::function<bool(std::span<const std::byte>)>& want);

}  // namespace weir::archive
