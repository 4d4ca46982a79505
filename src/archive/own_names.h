#pragma once

#include <string>
#include <string_view>

namespace weir::archive {

/// Hidden names of ours. Whatever else begins with a dot belongs to somebody else and stays.
inline constexpr std::string_view kSpareName = ".pgweir-spare";

/// Where `name` is written before it gets its name: ".pgweir-<name>.tmp".
[[nodiscard]] std::string temporary_name(std::string_view name);

/// True for kSpareName and for the temporary_name() of a segment or history file.
[[nodiscard]] bool is_own_hidden_name(std::string_view name);

}  // namespace weir::archive
