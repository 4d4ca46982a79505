#include "sim_wake.h"

#include <array>

#include "net/wake.h"

namespace weir {

namespace {

/// Numbers that no real descriptor has, nor SimMachine's. They are used again: far more than can
/// be there at a time.
constexpr int kFirst = 1 << 30;
constexpr int kNumbers = 1 << 16;

struct Wakes {
  std::array<bool, kNumbers> raised{};
  int next = 0;
};

Wakes& wakes() {
  static Wakes all;
  return all;
}

bool& raised_of(int fd) { return wakes().raised[static_cast<std::size_t>(fd - kFirst)]; }

}  // namespace

// In the place of src/net/wake.cc.
namespace net {

Wake::Wake() : fd_(kFirst + wakes().next) {
  wakes().next = (wakes().next + 1) % kNumbers;
  raised_of(fd()) = false;
}

void Wake::raise() noexcept { raised_of(fd()) = true; }
void Wake::clear() noexcept { raised_of(fd()) = false; }
bool Wake::raised() const noexcept { return raised_of(fd()); }

}  // namespace net

bool sim::is_raised(int fd) { return raised_of(fd); }

}  // namespace weir
