// (Its longjmp() checks that one jumps down the same stack.)
#undef _FORTIFY_SOURCE

#include "fiber.h"

#include <cxxabi.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// swapcontext() asks the kernel for the signal mask each time, which costs more than all the rest.
// It is what the sanitizers know, so there it stays.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PGWEIR_JUMPS 1
#endif

namespace weir::sim {

namespace {

constexpr std::size_t kStackBytes = 1 << 20;  // touched as far as it is used
constexpr std::size_t kGuardBytes = 1 << 16;  // a page, however large that is on this machine
/// Stacks begin at different places of their pages: else what all of them use most would be in the
/// same few lines of the processor's cache.
constexpr std::size_t kShiftBytes = 576;
constexpr std::size_t kShifts = 29;

/// Where a fiber runs. Its lowest page can't be touched: an overflow is a crash at its place, and
/// no other fiber's variables that have changed.
class Stack {
 public:
  Stack()
      : bytes_(::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0)) {
    PGWEIR_CHECK(bytes_ != MAP_FAILED);
    PGWEIR_CHECK(::mprotect(bytes_, kGuardBytes, PROT_NONE) == 0);
  }
  ~Stack() { ::munmap(bytes_, kStackBytes); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  [[nodiscard]] void* bytes() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return size_; }

#if defined(PGWEIR_JUMPS)
  /// Of who runs there, or has come to its end and waits for the next one: to make a context
  /// asks the kernel for the signal mask, too.
  std::jmp_buf place{};
  bool entered = false;
#endif

 private:
  static inline std::size_t made_ = 0;

  void* const bytes_;
  const std::size_t size_ = kStackBytes - made_++ % kShifts * kShiftBytes;  ///< that are used
};

/// Stacks are used again: mapping one costs more than most fibers run.
class Stacks {
 public:
  std::unique_ptr<Stack> take() {
    if (free_.empty()) return std::make_unique<Stack>();
    auto stack = std::move(free_.back());
    free_.pop_back();
    return stack;
  }
  void give_back(std::unique_ptr<Stack> stack) { free_.push_back(std::move(stack)); }

 private:
  std::vector<std::unique_ptr<Stack>> free_;
};

Stacks& stacks() {
  static Stacks all;
  return all;
}

/// What the runtime knows of exceptions being handled belongs to a stack, and it keeps it by thread
/// (__cxa_eh_globals in the Itanium C++ ABI).
struct Exceptions {
  void* caught = nullptr;
  unsigned int uncaught = 0;
};

void exchange_exceptions(Exceptions& other) {
  auto* mine = reinterpret_cast<Exceptions*>(abi::__cxa_get_globals());
  std::swap(*mine, other);
}

}  // namespace

struct Fiber::Impl {
  std::function<void()> body;
  std::unique_ptr<Stack> stack;
  ucontext_t own{};
  ucontext_t caller{};
#if defined(PGWEIR_JUMPS)
  std::jmp_buf caller_place{};
#endif
  Impl* outer = nullptr;  ///< the fiber that resumed it
  Exceptions exceptions;  ///< of whichever side does not run
  std::exception_ptr thrown;
  bool started = false;
  bool done = false;
#if defined(__SANITIZE_ADDRESS__)
  void* own_fake = nullptr;
  void* caller_fake = nullptr;
  const void* caller_bottom = nullptr;
  std::size_t caller_size = 0;
#endif
#if defined(__SANITIZE_THREAD__)
  void* own_fiber = nullptr;
  void* caller_fiber = nullptr;
#endif

  static inline Impl* current = nullptr;

  static void enter() {
    do {
      Impl& self = *current;
#if defined(__SANITIZE_ADDRESS__)
      __sanitizer_finish_switch_fiber(nullptr, &self.caller_bottom, &self.caller_size);
#endif
      try {
        self.body();
      } catch (...) {
        self.thrown = std::current_exception();
      }
      self.done = true;
      self.leave();
    } while (kStackGoesOn);  // with the next fiber; `self` is gone by then
    std::abort();            // nobody resumes it again
  }

  void leave() {
    exchange_exceptions(exceptions);
    current = outer;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(done ? nullptr : &own_fake, caller_bottom, caller_size);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(caller_fiber, 0);
#endif
    switch_to_caller();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(own_fake, &caller_bottom, &caller_size);
#endif
  }

#if defined(PGWEIR_JUMPS)
  static constexpr bool kStackGoesOn = true;
  void switch_to_caller() {
    if (_setjmp(stack->place) == 0) _longjmp(caller_place, 1);
  }
  void switch_to_own() {
    if (_setjmp(caller_place) != 0) return;
    if (stack->entered) _longjmp(stack->place, 1);
    stack->entered = true;
    make_context();
    ::setcontext(&own);
  }
#else
  static constexpr bool kStackGoesOn = false;
  void switch_to_caller() { ::swapcontext(&own, &caller); }
  void switch_to_own() { ::swapcontext(&caller, &own); }
#endif

  void make_context() {
    PGWEIR_CHECK(::getcontext(&own) == 0);
    own.uc_stack.ss_sp = stack->bytes();
    own.uc_stack.ss_size = stack->size();
    own.uc_link = nullptr;
    ::makecontext(&own, &enter, 0);
  }
};

Fiber::Fiber(std::function<void()> body) : impl_(std::make_unique<Impl>()) {
  impl_->body = std::move(body);
}

Fiber::~Fiber() {
  PGWEIR_CHECK(impl_->done || !impl_->started);
  if (impl_->stack) stacks().give_back(std::move(impl_->stack));
#if defined(__SANITIZE_THREAD__)
  if (impl_->own_fiber != nullptr) __tsan_destroy_fiber(impl_->own_fiber);
#endif
}

std::exception_ptr Fiber::resume() {
  auto& self = *impl_;
  PGWEIR_CHECK(!self.done);
  if (!self.started) {
    self.started = true;
    self.stack = stacks().take();
#if !defined(PGWEIR_JUMPS)
    self.make_context();
#endif
#if defined(__SANITIZE_THREAD__)
    self.own_fiber = __tsan_create_fiber(0);
#endif
  }
  self.outer = std::exchange(Impl::current, &self);
  exchange_exceptions(self.exceptions);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&self.caller_fake, self.stack->bytes(), self.stack->size());
#endif
#if defined(__SANITIZE_THREAD__)
  self.caller_fiber = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(self.own_fiber, 0);
#endif
  self.switch_to_own();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(self.caller_fake, nullptr, nullptr);
#endif
  return std::exchange(self.thrown, nullptr);
}

bool Fiber::done() const { return impl_->done; }
bool Fiber::inside() { return Impl::current != nullptr; }
void Fiber::pause() {
  PGWEIR_CHECK(inside());
  Impl::current->leave();
}

}  // namespace weir::sim
