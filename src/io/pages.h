#pragma once

#include <cstddef>
#include <span>

namespace weir::io {

/// Anonymous memory in whole pages, straight from the kernel and straight back to it when this is
/// gone: for large buffers, whose memory no allocator shall keep. Aligned as direct writes want it.
/// Zeros at first. One owner.
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

/// For a process that will have little to do for a while: gives back what the allocator keeps for
/// later. Any thread.
void release_unused_memory();
/// Gives back what is mapped of the program's own file (code that ran once, at the start, say).
/// What is needed again comes back from the page cache, a fault of a microsecond for 64 kB. Any
/// thread.
void release_program();

}  // namespace weir::io
