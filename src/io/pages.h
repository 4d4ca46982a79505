#pragma once

#include <cstddef>
#include <span>

namespace weir::io {

/// Anonymous memory that begins with a page, which direct writes need. From 1 MiB on it is mapped
/// by the kernel and unmapped on destruction, so that no allocator keeps it. Initially zeros. One
/// owner.
class Pages {
 public:
  /// Throws std::bad_alloc.
  explicit Pages(std::size_t bytes);
  ~Pages();
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_;
  std::size_t size_;
};

/// For a process that will have little to do for a while: releases memory that the allocator keeps
/// for later. Any thread.
void release_unused_memory();
/// Unmaps pages of the program's own file (for example code that ran once, at the start). Pages
/// that are needed again return from the page cache, at the cost of a fault of a microsecond for 64
/// kB. Any thread.
void release_program();

}  // namespace weir::io
