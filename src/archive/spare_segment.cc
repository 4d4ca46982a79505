#include "archive/spare_segment.h"

#include <array>
#include <cstddef>

#include "archive/own_names.h"
#include "base/error.h"

namespace weir::archive {

namespace {

/// Number of zero bytes written at once: the page cache keeps them in pieces of that size, and a
/// commit's few bytes in a large piece cost more to write and to flush.
constexpr std::size_t kZeros = 8 * 1024;

}  // namespace

void SpareSegment::prepare() {
  if (!change(State::none, State::preparing)) return;
  const std::string name(kSpareName);
  try {
    directory_.remove(name);
    const auto file = directory_.create(name);
    // Flushing blocks that were written before takes a third of the time for reserved ones.
    file->allocate(bytes_);
    static constexpr std::array<std::byte, kZeros> kPieceOfZeros{};
    for (std::uint64_t at = 0; at < bytes_; at += kZeros) file->write_at(at, kPieceOfZeros);
    file->sync();
    file->close();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::durability) {
      try {
        directory_.remove(name);  // the space is worth more to the WAL
      } catch (const Error&) {
        // The first error is reported; the next attempt or clean_up() removes the file.
      }
    }
    change(State::preparing, State::none);
    throw;
  }
  change(State::preparing, State::ready);
}

bool SpareSegment::ready() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::ready;
}

bool SpareSegment::become(const std::string& name) {
  if (!change(State::ready, State::in_use)) return false;
  bool renamed = true;
  try {
    directory_.rename_no_replace(std::string(kSpareName), name);
  } catch (const Error&) {
    renamed = false;  // only performance is lost; an obstacle makes create() fail, too
  }
  change(State::in_use, State::none);
  return renamed;
}

bool SpareSegment::change(State from, State to) {
  const std::lock_guard lock(mutex_);
  if (state_ != from) return false;
  state_ = to;
  return true;
}

}  // namespace weir::archive
