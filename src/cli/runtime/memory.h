#pragma once

namespace weir::cli {

/// For a program with low memory usage: its threads share the allocator's one arena, while glibc
/// would create one for each. They hardly ever allocate at the same time. Must be called before the
/// first thread.
void use_one_arena();

}  // namespace weir::cli
