#pragma once

namespace weir::cli {

/// For a program that is to stay small: its threads share the allocator's one pool of memory, where
/// glibc would give each its own. They hardly ever allocate at the same time. To be called before
/// the first thread.
void use_one_arena();

}  // namespace weir::cli
