#include "logical/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"

namespace weir::logical {

namespace {

constexpr std::size_t kPiece = 1 << 20;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Checksum of the bytes in front of `offset`; nullopt if the file is shorter.
std::optional<std::uint32_t> tail_of(io::File& file, std::uint64_t offset) {
  std::vector<std::byte> tail(static_cast<std::size_t>(std::min<std::uint64_t>(offset, kTail)));
  if (file.read_at(offset - tail.size(), tail) != tail.size()) return std::nullopt;
  return checksum(tail);
}

std::string rotated_name(const std::string& name, wal::Lsn position) {
  return fmt::format("{}.{:016X}", name, position.byte());
}

}  // namespace

// --- PlainOutput --------------------------------------------------------------------------------

PlainOutput::PlainOutput(std::string path, unsigned file_mode, wal::Lsn start)
    : path_(std::move(path)), file_mode_(file_mode), start_(start) {}

void PlainOutput::begin() {
  if (!file_) file_.emplace(path_, file_mode_);
}

void PlainOutput::append(std::string_view bytes) {
  unsynced_ = true;
  if (buffer_.size() + bytes.size() > kPiece) flush();
  if (bytes.size() > kPiece)
    write(bytes);
  else
    buffer_ += bytes;
}

void PlainOutput::write(std::string_view bytes) {
  try {
    file_->write(bytes, advances_);
  } catch (...) {
    // How much of it is in the file is unknown, and the borders within it count no more.
    last_border_ = durable_;
    throw;
  }
}

void PlainOutput::border(wal::Lsn position) { last_border_ = std::max(last_border_, position); }

void PlainOutput::flush() {
  if (buffer_.empty()) return;
  // Emptied first: after an error it is unknown how much of it was written.
  const std::string bytes = std::exchange(buffer_, {});
  write(bytes);
  buffer_.reserve(kPiece);
}

void PlainOutput::make_durable() {
  flush();
  if (unsynced_ && file_) file_->sync();
  unsynced_ = false;
  durable_ = last_border_;
}

void PlainOutput::reopen() {
  if (!file_ || path_ == "-") return;
  try {
    make_durable();
  } catch (...) {
    file_.reset();  // what it has not taken is sent again, for the new file that begin() opens
    throw;
  }
  file_.reset();
  file_.emplace(path_, file_mode_);
}

// --- ExactOutput --------------------------------------------------------------------------------

ExactOutput::ExactOutput(io::Directory& directory, std::string name, State state, Rotation rotation,
                         Log& log)
    : directory_(directory),
      name_(std::move(name)),
      state_name_(name_ + ".state"),
      rotation_(rotation),
      log_(log),
      state_(std::move(state)) {
  state_.offset = 0;
  state_.tail = checksum({});
  look_again();
  if (continued_) return;
  if (const auto entry = directory_.find(name_); entry && entry->size > 0)
    throw Error(ErrorKind::conflict, "the output file is not empty and has no state file")
        .with("path", fmt::format("{}/{}", directory_.path(), name_))
        .hint(
            "Move it away, or use another file name. --no-state appends to any file; then a "
            "restart may repeat changes.");
  border_ = state_.position;
}

std::optional<State> ExactOutput::read_state() {
  const auto file = directory_.open_for_reading(state_name_);
  if (!file) return std::nullopt;
  std::string text(64 * 1024, '\0');
  text.resize(file->read_at(0, std::as_writable_bytes(std::span(text.data(), text.size()))));
  auto found = parse_state(text);
  if (!found)
    throw Error(ErrorKind::damage, "the state file of the output cannot be read")
        .with("path", fmt::format("{}/{}", directory_.path(), state_name_))
        .hint(
            "It is replaced atomically, so a crash is not the cause: check the disk, and which "
            "other program writes there. Without it, start a new file from a new slot.");
  return found;
}

void ExactOutput::look_again() {
  if (file_) return;
  if (auto found = read_state()) {
    const auto path = fmt::format("{}/{}", directory_.path(), name_);
    const auto differ = [&](std::string_view what, const auto& was, const auto& is) {
      if (was != is)
        throw Error(ErrorKind::conflict,
                    fmt::format("the output file contains the changes of another {}", what))
            .with("path", path)
            .with("file", was)
            .with("asked", is)
            .hint("Use another file, or the slot and server with which the file was started.");
    };
    differ("cluster (system identifier)", found->system_identifier, state_.system_identifier);
    differ("database", found->database, state_.database);
    differ("slot", found->slot, state_.slot);
    differ("plugin", found->plugin, state_.plugin);
    state_ = std::move(*found);
    continued_ = true;
    border_ = state_.position;
    timeline_ = state_.timeline;
  }
}

void ExactOutput::begin() {
  if (file_) return;  // a new connection; undo() has been there
  // A process that was killed between the rename and its fsync has left a state that is readable
  // but not durable: it is confirmed to the server from now on, and a power failure could remove
  // it.
  directory_.sync();
  require_unchanged();
  // Its name may belong to a new file by now (logrotate creates one).
  if (continued_ && state_.offset == 0) discard_moved();
  if (!continued_ || (state_.offset == 0 && !directory_.find(name_))) {
    create_file();
    return;
  }
  auto file = find_file();
  lock(*file);
  const std::uint64_t size = file->size();
  if (size > state_.offset) {
    log_.info("truncating {} bytes after {} bytes of complete transactions", size - state_.offset,
              state_.offset);
    file->truncate(state_.offset);
  }
  // Even if there is nothing to truncate: the start that truncated it may have been killed before
  // its fsync.
  file->sync();
  // find_file() may have found it under the name it was moved to; then a new one is started.
  const auto current = directory_.open(name_);
  if (current && is_ours(*current)) {
    begin_file(std::move(file));
    return;
  }
  if (current && current->size() > 0)
    throw Error(ErrorKind::conflict, "the output file was replaced by another one")
        .with("path", directory_.path() + "/" + name_)
        .hint("Move it away and restart; the file that was written to still exists.");
  create_file();
}

/// The state covers no byte of this file yet, and the file was moved away: its transactions are
/// sent again. Its content cannot prove that it is the right file, so it is renamed and not
/// truncated.
void ExactOutput::discard_moved() {
  for (const auto& entry : directory_.list()) {
    if (entry.type != io::DirectoryEntry::Type::file || !entry.name.starts_with(name_ + ".") ||
        entry.name == state_name_ || entry.size == 0 || state_.inode == 0)
      continue;
    const auto moved = directory_.open_for_reading(entry.name);
    if (!moved || moved->identity() != state_.inode) continue;
    const auto aside = "." + entry.name + ".discarded";
    directory_.rename_replace(entry.name, aside);
    log_.warning(
        "{} was moved before its first transactions were confirmed; they are sent again, so it "
        "is renamed to {}",
        entry.name, aside);
    return;
  }
}

/// The file that the state refers to: under its name, or moved away by a rotation that a crash
/// interrupted.
std::unique_ptr<io::File> ExactOutput::find_file() {
  auto file = directory_.open(name_);
  const bool exists = file != nullptr;
  const std::uint64_t size = exists ? file->size() : 0;
  if (exists && is_ours(*file)) return file;
  for (const auto& entry : directory_.list()) {
    if (entry.type != io::DirectoryEntry::Type::file || !entry.name.starts_with(name_ + ".") ||
        entry.name == state_name_ || entry.size < state_.offset)
      continue;
    auto moved = directory_.open(entry.name);
    // Files of one stream may end alike, but this is about cutting one.
    if (!moved || moved->identity() != state_.inode || !is_ours(*moved)) continue;
    log_.info("the output file was moved to {}", entry.name);
    return moved;
  }
  const auto path = directory_.path() + "/" + name_;
  if (exists && size < state_.offset)
    throw Error(ErrorKind::damage, "the output file is shorter than it was when it was synced")
        .with("path", path)
        .with("bytes", size)
        .with("synced", state_.offset)
        .hint(
            "Another process truncated it, or the disk lost data. The missing changes were "
            "confirmed to the server and are not sent again: start a new file from a new slot.");
  constexpr std::string_view kHint =
      "Restore it, under its own name or its own name followed by a dot and a suffix. To abandon "
      "it, create an empty file in its place and remove the .state file: the stream resumes at "
      "the slot's confirmed position.";
  if (exists)
    throw Error(ErrorKind::conflict, "the output file does not match its state file")
        .with("path", path)
        .hint(kHint);
  throw Error(ErrorKind::conflict, "the output file is gone").with("path", path).hint(kHint);
}

bool ExactOutput::is_ours(io::File& file) const {
  return file.size() >= state_.offset && tail_of(file, state_.offset) == state_.tail;
}

/// `file` is locked.
void ExactOutput::begin_file(std::unique_ptr<io::File> file) {
  PGWEIR_CHECK(buffer_.empty());
  written_ = synced_ = border_offset_ = state_.offset;
  border_ = state_.position;
  cut_ = false;
  began_ = Clock::now();
  if (file->identity() != state_.inode) {
    // A copy, or a new file that was created just before a crash: after it was moved away, it must
    // be recognizable.
    State state = state_;
    state.inode = file->identity();
    write_state(std::move(state));
  }
  file_ = std::move(file);
}

void ExactOutput::create_file() {
  auto file = directory_.open(name_);
  if (!file) file = directory_.create(name_);
  lock(*file);
  directory_.sync();
  State state = state_;
  state.position = border_;
  state.timeline = timeline_;
  state.inode = file->identity();
  state.offset = 0;
  state.tail = checksum({});
  write_state(std::move(state));
  begin_file(std::move(file));
}

/// Before any change of the file.
void ExactOutput::lock(io::File& file) {
  if (!file.try_lock())
    throw Error(ErrorKind::retry, "another process writes to the output file")
        .with("path", directory_.path() + "/" + name_)
        .hint("It may have lost its connection, and may be waiting for the disk. Stop it first.");
  require_unchanged();
}

void ExactOutput::require_unchanged() {
  const auto found = read_state();
  const auto place = [](const State& state) {
    return std::tuple(state.position, state.offset, state.tail, state.inode);
  };
  if (found ? continued_ && place(*found) == place(state_) : !continued_) return;
  throw Error(ErrorKind::retry, "another process has just written to the output file")
      .with("path", directory_.path() + "/" + name_);
}

void ExactOutput::append(std::string_view bytes) {
  if (reopen_ && is_whole()) open_anew();  // the part that was there has been undone
  if (buffer_.size() + bytes.size() > kPiece) flush();
  if (bytes.size() > kPiece)
    write(bytes);
  else
    buffer_ += bytes;
}

void ExactOutput::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto part = bytes.substr(0, kPiece);
    file_->write_at(written_, bytes_of(part));
    written_ += part.size();
    bytes.remove_prefix(part.size());
    if (advances_) advances_();
  }
}

void ExactOutput::border(wal::Lsn position) {
  if (position < border_) return;
  border_ = position;
  border_offset_ = written_ + buffer_.size();
  PGWEIR_CHECK(state_.offset <= border_offset_ && state_.position <= border_);
  const bool full = rotation_.bytes > 0 && border_offset_ >= rotation_.bytes;
  const bool old = rotation_.time.count() > 0 && Clock::now() - began_ >= rotation_.time;
  if (reopen_)
    open_anew();
  else if ((full || old) && border_offset_ > 0)
    rotate();
}

void ExactOutput::undo() {
  if (!file_) return;
  // Only bytes that no confirmed position covers.
  PGWEIR_CHECK(state_.offset <= border_offset_ && border_offset_ <= written_ + buffer_.size());
  if (border_offset_ >= written_) {
    buffer_.resize(static_cast<std::size_t>(border_offset_ - written_));
    return;
  }
  buffer_.clear();
  file_->truncate(border_offset_);
  written_ = border_offset_;
  synced_ = std::min(synced_, written_);
  cut_ = true;
}

void ExactOutput::flush() {
  write(buffer_);
  buffer_.clear();
}

void ExactOutput::make_durable() {
  if (!dirty()) return;
  flush();
  // A truncation that is not durable would bring back half a transaction, and a start would not
  // check a file that is rotated away by then.
  if (synced_ != written_ || cut_) file_->sync();
  synced_ = written_;
  cut_ = false;
  // The position confirmed to the server from now on covers all of these bytes.
  PGWEIR_CHECK(state_.offset <= border_offset_ && border_offset_ <= synced_ &&
               state_.position <= border_);
  if (border_ == state_.position && border_offset_ == state_.offset) return;
  State state = state_;
  state.position = border_;
  state.timeline = timeline_;
  state.inode = file_->identity();
  state.offset = border_offset_;
  if (border_offset_ != state_.offset) {
    const auto tail = tail_of(*file_, border_offset_);
    if (!tail)
      throw Error(ErrorKind::durability, "the output file was truncated while it was in use")
          .with("path", directory_.path() + "/" + name_)
          .hint(
              "Do not truncate it (logrotate: no copytruncate): rename it, then send SIGHUP, or "
              "use --rotate-size.");
    state.tail = *tail;
  }
  write_state(std::move(state));
}

void ExactOutput::write_state(State state) {
  const std::string temporary = "." + state_name_ + ".tmp";
  directory_.remove(temporary);
  const auto file = directory_.create(temporary);
  file->write_at(0, bytes_of(to_text(state)));
  file->sync();
  file->close();
  directory_.rename_replace(temporary, state_name_);
  directory_.sync();
  state_ = std::move(state);
  continued_ = true;
}

void ExactOutput::rotate() {
  make_durable();
  // A file that is finished ends with a whole transaction.
  PGWEIR_CHECK(written_ == border_offset_ && state_.offset == border_offset_);
  const auto current = directory_.open_for_reading(name_);
  if (!current || current->identity() != file_->identity()) {
    // Another program has moved it, and sends its SIGHUP soon. The name may belong to a new file.
    open_anew();
    return;
  }
  const auto old = rotated_name(name_, border_);
  directory_.rename_no_replace(name_, old);
  file_->close();
  file_.reset();
  log_.info("finished {}", old);
  create_file();
}

/// A file that was moved away may be removed soon: what follows belongs to a new one.
void ExactOutput::reopen() {
  reopen_ = true;
  if (file_ && is_whole()) open_anew();
}

void ExactOutput::open_anew() {
  reopen_ = false;
  make_durable();
  auto current = directory_.open(name_);
  if (current && is_ours(*current) && current->size() == written_ && written_ > 0) return;
  if (current && current->size() > 0)
    throw Error(ErrorKind::conflict, "the output file was replaced by another one")
        .with("path", directory_.path() + "/" + name_)
        .hint("Move it away and start again.");
  file_->close();
  file_.reset();
  current.reset();
  create_file();
  log_.info("reopened {}", name_);
}

void ExactOutput::close() {
  if (!file_) return;
  undo();
  make_durable();
  file_->close();
  file_.reset();
}

}  // namespace weir::logical
