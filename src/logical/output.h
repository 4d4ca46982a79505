#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "io/directory.h"
#include "io/stream_file.h"
#include "logical/state.h"
#include "wal/lsn.h"

namespace weir::logical {

/// The destination of the changes. Bytes are collected and written in large pieces. One thread.
class Output {
 public:
  virtual ~Output() = default;
  /// Start position of the stream; 0/0: the slot's position.
  [[nodiscard]] virtual wal::Lsn start() const = 0;
  /// The stream has started: this connection has the slot, so no other process writes.
  virtual void begin() = 0;
  virtual void append(std::string_view bytes) = 0;
  /// Called after each part of a large write.
  void set_advances(std::function<void()> advances) { advances_ = std::move(advances); }
  /// All transactions up to `position` were appended, each complete. Must not be before the last
  /// one.
  virtual void border(wal::Lsn position) = 0;
  /// Removes what was appended after the last border.
  virtual void undo() = 0;
  /// Hands what was collected to the system. Throws Error{disk_full, io}, as append().
  virtual void flush() = 0;
  /// True if collected bytes are not passed to the system yet.
  [[nodiscard]] virtual bool buffered() const = 0;
  /// Makes durable what was appended up to the last border, or more. Throws Error{durability,
  /// disk_full, io}.
  virtual void make_durable() = 0;
  /// The last border that is durable: may be confirmed to the server.
  [[nodiscard]] virtual wal::Lsn durable() const = 0;
  [[nodiscard]] virtual wal::Lsn last_border() const = 0;
  /// There is something for make_durable() to do.
  [[nodiscard]] virtual bool dirty() const = 0;
  /// Reopens the file, as soon as that does not split a transaction.
  virtual void reopen() = 0;

 protected:
  std::function<void()> advances_;
};

/// Standard output, or any file, which is appended to. After a restart the same transactions may be
/// written again; after a failed write, too, if a stream is started from start().
class PlainOutput final : public Output {
 public:
  /// `path` "-": standard output. Opens it in begin(); a new file gets that mode.
  PlainOutput(std::string path, unsigned file_mode, wal::Lsn start);
  wal::Lsn start() const override { return last_border_.valid() ? last_border_ : start_; }
  void begin() override;
  void append(std::string_view bytes) override;
  void border(wal::Lsn position) override;
  void undo() override {}
  void flush() override;
  bool buffered() const override { return !buffer_.empty(); }
  void make_durable() override;
  wal::Lsn durable() const override { return durable_; }
  wal::Lsn last_border() const override { return last_border_; }
  bool dirty() const override { return unsynced_ || durable_ != last_border_; }
  void reopen() override;

 private:
  void write(std::string_view bytes);

  std::string path_;
  unsigned file_mode_;
  wal::Lsn start_;
  std::optional<io::StreamFile> file_;
  std::string buffer_;
  wal::Lsn last_border_;
  wal::Lsn durable_;
  bool unsynced_ = false;
};

/// A file with a state file: each transaction is written once and completely, even after a crash.
///
/// The order at make_durable(): the bytes; fsync; the state under another name, fsync, rename,
/// fsync of the directory; only then durable() advances. After a crash, the bytes after the state's
/// offset belong to transactions that the server will send again from the state's position: begin()
/// truncates them.
class ExactOutput final : public Output {
 public:
  struct Rotation {
    std::uint64_t bytes = 0;            ///< 0: never
    std::chrono::milliseconds time{0};  ///< 0: never
  };
  /// Opens the file of that name in `directory`, which must outlive the object. `state` identifies
  /// the source of the changes; its position is the start of a file that does not exist yet. Reads
  /// the state of an existing file. Throws Error{conflict} if the file belongs to another slot,
  /// database or cluster, or has no state and is not empty; Error{damage} if its state is invalid.
  ExactOutput(io::Directory& directory, std::string name, State state, Rotation rotation, Log& log);

  /// There is a state: this is not the first time.
  [[nodiscard]] bool continued() const { return continued_; }
  /// The server's timeline at start(); 0: unknown.
  [[nodiscard]] wal::TimelineId timeline() const { return timeline_; }
  /// start() is part of this timeline's history, and so is what follows; 0: unknown.
  void on_timeline(wal::TimelineId timeline) { timeline_ = timeline; }
  /// A process that had the slot until now may have written to the file since the state was read:
  /// must be called before start(). No effect between begin() and close().
  void look_again();
  wal::Lsn start() const override { return border_; }
  /// Throws Error{retry} if another process writes to the file, or has since look_again().
  void begin() override;
  void append(std::string_view bytes) override;
  void border(wal::Lsn position) override;
  void undo() override;
  void flush() override;
  bool buffered() const override { return !buffer_.empty(); }
  void make_durable() override;
  wal::Lsn durable() const override { return state_.position; }
  wal::Lsn last_border() const override { return border_; }
  /// Not what follows the last border: nothing of it can be confirmed, and its fsync may take long.
  bool dirty() const override {
    return cut_ || border_ != state_.position || border_offset_ != state_.offset;
  }
  void reopen() override;
  /// Ends the file at its last border and records that in the state.
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  void write(std::string_view bytes);
  /// Nothing was appended after the last border.
  [[nodiscard]] bool is_whole() const { return border_offset_ == written_ + buffer_.size(); }
  [[nodiscard]] std::optional<State> read_state();
  [[nodiscard]] std::unique_ptr<io::File> find_file();
  void discard_moved();
  [[nodiscard]] bool is_ours(io::File& file) const;
  void begin_file(std::unique_ptr<io::File> file);
  void create_file();
  void lock(io::File& file);
  void require_unchanged();
  void write_state(State state);
  void rotate();
  void open_anew();

  io::Directory& directory_;
  const std::string name_;
  const std::string state_name_;
  const Rotation rotation_;
  Log& log_;
  State state_;  ///< as on disk
  bool continued_ = false;
  std::unique_ptr<io::File> file_;
  std::uint64_t written_ = 0;  ///< bytes of the file
  std::uint64_t synced_ = 0;   ///< of them
  bool cut_ = false;           ///< it was shortened since
  std::string buffer_;         ///< to be written after them
  wal::Lsn border_;
  wal::TimelineId timeline_ = 0;  ///< of border_
  std::uint64_t border_offset_ = 0;
  bool reopen_ = false;
  Clock::time_point began_;
};

}  // namespace weir::logical
