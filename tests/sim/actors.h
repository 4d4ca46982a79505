#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fiber.h"
#include "random.h"
#include "support/sim_disk.h"

namespace weir::sim {

/// Those who are at work beside the receiver: its compressor and its preparer of spares, and the
/// other process that prunes. Each is stopped before each of its calls to the disk.
class Actors {
 public:
  void start(std::string name, std::function<void()> body) {
    actors_.push_back({std::move(name), std::make_unique<Fiber>(std::move(body))});
  }

  [[nodiscard]] bool running(std::string_view name) const {
    for (const auto& actor : actors_)
      if (actor.name == name) return true;
    return false;
  }
  /// Whose turn it is; empty: the receiver's.
  [[nodiscard]] const std::string& current() const { return current_; }

  /// Lets one of them do its next step.
  void turn(Random& random) {
    if (!actors_.empty()) resume(random.below(actors_.size()));
  }
  /// Lets that one come to its end.
  void finish(std::string_view name) {
    for (std::size_t i = 0; i < actors_.size();) {
      if (actors_[i].name == name)
        resume(i);
      else
        ++i;
    }
  }
  /// The machine or the process is gone: whoever is still at work finds out at the next call.
  void end() {
    while (!actors_.empty()) {
      try {
        resume(0);
      } catch (const MachineDown&) {
      }
    }
  }

 private:
  struct Actor {
    std::string name;
    std::unique_ptr<Fiber> fiber;
  };

  void resume(std::size_t index) {
    auto& fiber = *actors_[index].fiber;
    const auto before = std::exchange(current_, actors_[index].name);
    try {
      fiber.resume();
    } catch (...) {
      current_ = before;
      erase(fiber);
      throw;
    }
    current_ = before;
    if (fiber.done()) erase(fiber);
  }
  /// (Others may have been started or have ended meanwhile.)
  void erase(const Fiber& fiber) {
    std::erase_if(actors_, [&](const Actor& actor) { return actor.fiber.get() == &fiber; });
  }

  std::vector<Actor> actors_;
  std::string current_;
};

}  // namespace weir::sim
