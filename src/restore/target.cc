#include "restore/target.h"

#include <algorithm>
#include <array>
#include <utility>

#include "io/posix_directory.h"

namespace weir::restore {

namespace {

/// Errors of the directory refer to an archive; this is the target.
template <typename Call>
auto of_target(const std::string& path, Call call) {
  try {
    return call();
  } catch (const Error& error) {
    TargetError told(error.kind(),
                     "could not write the restored file: " + std::string(error.what()));
    told.with("target", path);
    if (error.kind() == ErrorKind::disk_full)
      told.hint(
          "The file system of the server's pg_wal is full. Free space there, then restart the "
          "server: recovery resumes.");
    else
      told.hint("Check the target directory: owner, mode, disk.");
    throw told;
  }
}

}  // namespace

Target::Target(io::Directory& directory, std::string name)
    : directory_(directory), name_(std::move(name)), temporary_(temporary_name_of(name_)) {
  restart();
}

Target::~Target() {
  if (temporary_.empty()) return;
  file_.reset();
  try {
    directory_.remove(temporary_);
  } catch (const Error&) {
    // The hidden name is never taken for a restored file. The error that led here is reported.
  }
}

void Target::restart() {
  of_target(name_, [&] {
    file_.reset();
    size_ = 0;
    directory_.remove(temporary_);
    file_ = directory_.create(temporary_);
  });
}

void Target::expect(std::uint64_t bytes) {
  of_target(name_, [&] { io::reserve_if_possible(*file_, bytes); });
}

bool Target::append(std::span<const std::byte> bytes) {
  of_target(name_, [&] { file_->write_at(size_, bytes); });
  size_ += bytes.size();
  return true;
}

void Target::append_zeros(std::uint64_t count) {
  static constexpr std::array<std::byte, 64 * 1024> kZeros{};
  while (count > 0) {
    const auto piece = std::min<std::uint64_t>(count, kZeros.size());
    append(std::span(kZeros).first(piece));
    count -= piece;
  }
}

std::size_t Target::read_at(std::uint64_t offset, std::span<std::byte> bytes) {
  return of_target(name_, [&] { return file_->read_at(offset, bytes); });
}

void Target::publish() {
  of_target(name_, [&] {
    // A full network file system may report the error only now.
    std::exchange(file_, nullptr)->close();
    directory_.rename_replace(temporary_, name_);
  });
  temporary_.clear();
}

}  // namespace weir::restore
