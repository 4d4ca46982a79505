#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "base/buffer.h"

namespace weir {

/// Bytes that are added at the end, in memory that is not set to zero first (see Buffer). Moving it
/// moves no byte: spans of its content stay valid. One owner.
class GrowingBuffer {
 public:
  GrowingBuffer() = default;
  GrowingBuffer(GrowingBuffer&& other) noexcept
      : memory_(std::move(other.memory_)), size_(std::exchange(other.size_, 0)) {}
  GrowingBuffer& operator=(GrowingBuffer&& other) noexcept {
    memory_ = std::move(other.memory_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t capacity() const { return memory_.size(); }
  [[nodiscard]] const std::byte* data() const { return memory_.data(); }
  [[nodiscard]] const std::byte* begin() const { return data(); }
  [[nodiscard]] const std::byte* end() const { return data() + size_; }

  /// Makes room for `capacity` bytes in total.
  void reserve(std::size_t capacity) {
    if (capacity <= memory_.size()) return;
    Buffer larger(capacity);
    if (size_ > 0) std::memcpy(larger.data(), memory_.data(), size_);
    memory_ = std::move(larger);
  }
  /// Adds `count` bytes, which the caller has to set. The span is valid until the next call that
  /// changes the size.
  std::span<std::byte> extend(std::size_t count) {
    if (count > memory_.size() - size_) reserve(std::max(size_ + count, 2 * memory_.size()));
    return {memory_.data() + std::exchange(size_, size_ + count), count};
  }
  /// `bytes` are not its own.
  void append(std::span<const std::byte> bytes) {
    if (!bytes.empty()) std::memcpy(extend(bytes.size()).data(), bytes.data(), bytes.size());
  }
  /// Drops all bytes but the first `size`, which it has.
  void truncate(std::size_t size) { size_ = size; }
  /// Drops the first `count` bytes, which it has.
  void drop_front(std::size_t count) {
    size_ -= count;
    if (count > 0 && size_ > 0) std::memmove(memory_.data(), memory_.data() + count, size_);
  }

 private:
  Buffer memory_;
  std::size_t size_ = 0;
};

}  // namespace weir
