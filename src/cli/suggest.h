#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace weir::cli {

/// The name that was probably meant: the nearest by edits (a swap of neighbors counts as one), or
/// the only one that starts with `word`; nullopt if none is near enough.
[[nodiscard]] std::optional<std::string_view> nearest(std::string_view word,
                                                      std::span<const std::string_view> names);

}  // namespace weir::cli
