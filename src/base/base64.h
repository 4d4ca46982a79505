#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace weir {

/// RFC 4648, with padding.
[[nodiscard]] std::string to_base64(std::span<const std::byte> bytes);
/// nullopt if the text is not what to_base64() would write.
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);

}  // namespace weir
