#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>

namespace weir::sim {

/// A function with a stack of its own, which runs in turns with its caller in one thread: so the
/// real compressor, pruner or spare can be stopped between any two calls to the disk and the
/// receiver go on, as with threads, but in an order that the seed decides. (Not a thread: a hand-
/// over between threads costs more than most runs.)
class Fiber {
 public:
  explicit Fiber(std::function<void()> body);
  /// It must have come to its end.
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Runs it until its next pause() or its end. Returns what it has thrown, which ends it, or
  /// nullptr: nearly all end so, and to throw it once more would double what that costs.
  [[nodiscard]] std::exception_ptr resume();
  [[nodiscard]] bool done() const;

  /// True within a fiber.
  [[nodiscard]] static bool inside();
  /// From within a fiber: back to the one that resumed it.
  static void pause();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::sim
