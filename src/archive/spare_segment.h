#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "io/directory.h"

namespace weir::archive {

/// A zero-filled, synced file under a hidden name that becomes the next segment's `.partial` by a
/// rename. Any thread; one at a time prepares it.
class SpareSegment {
 public:
  SpareSegment(io::Directory& directory, std::uint64_t bytes)
      : directory_(directory), bytes_(bytes) {}

  /// A no-op if there is one. Throws as io does; a failure only affects performance.
  void prepare();
  [[nodiscard]] bool ready() const;
  /// Gives it this name. False if there is none, or it cannot be renamed. Never waits: while one is
  /// being prepared there is none.
  [[nodiscard]] bool become(const std::string& name);

 private:
  enum class State { none, preparing, ready, in_use };
  /// False if it was in another one.
  bool change(State from, State to);

  io::Directory& directory_;
  const std::uint64_t bytes_;
  mutable std::mutex mutex_;
  State state_ = State::none;
};

}  // namespace weir::archive
